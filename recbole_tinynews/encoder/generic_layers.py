"""Language models run by their own code from any layer to any other, with stand-ins for layers."""

from __future__ import annotations

import copy
import inspect
from contextlib import ExitStack, suppress
from typing import Any, NoReturn, Protocol, cast

import torch
from torch import Tensor, nn

from recbole_tinynews.encoder.attention import PACKED, Scores, packed_row, register_packed_attention
from recbole_tinynews.encoder.hidden_states import ObservableStates, StateRecorder
from recbole_tinynews.encoder.packing import PackedTexts
from recbole_tinynews.encoder.static_model import LanguageModel, StaticModel

USUAL_NAMES = ("layer", "layers", "h", "block", "blocks")  # attributes that hold the list of layers
UNUSED = "pooler"


class Layers(Protocol):
    """The parts of a language model, and how they are run."""

    observable: ObservableStates
    around: list[nn.Module]  # modules that contain the others, from the model itself on
    before: list[nn.Module]  # parts that run before the first layer, such as the embeddings
    layers: list[nn.Module]
    after: list[nn.Module]  # parts that run after the last layer, such as a final norm

    def embed(self, texts: PackedTexts) -> Tensor:
        """Input of the first layer, ``[tokens, hidden]``."""

    def through(
        self, numbers: range, hidden: Tensor, texts: PackedTexts, recorder: StateRecorder | None
    ) -> Tensor:
        """Output of these layers, ``[tokens, hidden]``; after the model's last, of ``after``."""


class GenericLayers:
    """``Layers`` of a language model of any architecture, run by its own code.

    ``in_one_row`` needs ``PACKED`` attention; otherwise texts of equal length form a batch, with
    the model's own attention. With ``as_one``, all layers count as one, for models whose layers
    need more than the states of the one before (T5).
    """

    def __init__(self, plm: LanguageModel, in_one_row: bool, as_one: bool = False) -> None:
        self.plm, self.in_one_row = plm, in_one_row
        self.path, self.inner = find_layers(plm)
        whole: list[nn.Module] = [nn.ModuleList(self.inner)]
        self.layers = whole if as_one else self.inner
        one_by_one = not as_one and len(self.inner) == plm.config.num_hidden_layers
        self.observable = ObservableStates(hidden=one_by_one, attention=in_one_row)
        self.accepted = frozenset(inspect.signature(plm.forward).parameters)
        self.first_position = first_position(plm)
        self.around = ancestors(plm, self.path)
        self.before, self.after, self.also_given = _watch(plm, self.around, self.inner)

    @classmethod
    def packed(cls, plm: LanguageModel) -> GenericLayers | None:
        """Run on one row; ``None`` if the model takes no position ids or its attention is fixed."""
        made = cls(plm, in_one_row=True)
        if "position_ids" not in made.accepted:
            return None
        register_packed_attention()
        plm.set_attn_implementation(PACKED)
        return made if plm.config._attn_implementation == PACKED else None

    def embed(self, texts: PackedTexts) -> Tensor:
        """Input of the first layer, ``[tokens, hidden]``."""
        return self._run(range(1, 1), None, texts, None)

    def through(
        self, numbers: range, hidden: Tensor, texts: PackedTexts, recorder: StateRecorder | None
    ) -> Tensor:
        """Output of the last of these layers; after the last of all, output of ``after``.

        The recorder gets the layer's output before ``after``; ``ValueError`` if it cannot.
        """
        if recorder is not None:
            name = type(self.plm).__name__
            if refusal := self.observable.refusal(recorder.request, name):
                raise ValueError(refusal)
        if numbers and self.layers is not self.inner:
            numbers = range(1, len(self.inner) + 1)
        return self._run(numbers, hidden, texts, recorder) if numbers else hidden

    def _run(
        self,
        numbers: range,
        hidden: Tensor | None,
        texts: PackedTexts,
        recorder: StateRecorder | None,
    ) -> Tensor:
        """Output of the layer before ``numbers.stop``; ``hidden`` is the input of the first."""
        if self.in_one_row:
            return self._call(numbers, hidden, texts, recorder)
        batches = texts.each_block()
        sizes = [len(batch.token_ids) for batch in batches]
        states = [None] * len(sizes) if hidden is None else hidden.split(sizes)
        parts = zip(states, batches, strict=True)
        return torch.cat([self._call(numbers, *part, recorder) for part in parts])

    def _call(
        self,
        numbers: range,
        hidden: Tensor | None,
        texts: PackedTexts,
        recorder: StateRecorder | None,
    ) -> Tensor:
        shape = (1, len(texts.token_ids)) if self.in_one_row else tuple(texts.pack.blocks[0])
        given: dict[str, Any] = {"input_ids": texts.token_ids.view(shape)}
        if self.in_one_row:
            given["position_ids"] = (texts.positions + self.first_position).view(shape)
            if "token_type_ids" in self.accepted:  # the default is as short as the position table
                given["token_type_ids"] = torch.zeros_like(given["input_ids"])
        elif texts.real is not None:
            given["attention_mask"] = texts.real.long().view(shape)
        if "use_cache" in self.accepted:
            given["use_cache"] = False
        states = None if hidden is None else hidden.view(*shape, -1)
        watch = None if recorder is None else _Watch(recorder, texts)
        stand_ins = [
            self._stand_in(number, layer, numbers, states, watch)
            for number, layer in enumerate(self.inner, start=1)
        ]
        part = _with_layers(self.plm, self.path, stand_ins)
        with packed_row(texts, {} if watch is None else watch.scores):
            try:
                out = part(**given).last_hidden_state
            except _Reached as reached:
                out = reached.hidden
        return out.flatten(0, 1)

    def _stand_in(
        self,
        number: int,
        layer: nn.Module,
        numbers: range,
        states: Tensor | None,
        watch: _Watch | None,
    ) -> nn.Module:
        if number >= numbers.stop:
            return _End(layer)
        if number < numbers.start:
            given = self.also_given
            return _Known(layer, known=states if given is None else (states, *[None] * given))
        first = states if number == 1 else None  # the embeddings are known
        if first is None and (watch is None or not watch.wants(number)):
            return layer
        return _Around(layer, number=number, known=first, watch=watch)


class _Watch:
    def __init__(self, recorder: StateRecorder, texts: PackedTexts) -> None:
        self.recorder, self.texts = recorder, texts
        self.scores: dict[nn.Module, Scores] = {}

    def wants(self, number: int) -> bool:
        request = self.recorder.request
        return number in request.hidden or number in request.attention

    def starts(self, number: int, layer: nn.Module) -> None:
        scores = self.recorder.scores_of(number)
        if scores is not None:  # any of its modules may compute attention
            self.scores.update(dict.fromkeys(layer.modules(), scores))

    def ends(self, number: int, layer: nn.Module, hidden: Tensor) -> None:
        self.recorder.add_hidden(number, hidden.flatten(0, 1), self.texts.real)
        if layer in self.scores:
            self.recorder.add_attention(number, self.scores[layer], self.texts)


class _StandIn(nn.Module):
    """Replaces a layer for one call and delegates all but its ``own`` attributes to it."""

    def __init__(self, layer: nn.Module, **own: Any) -> None:
        super().__init__()
        vars(self).update(own, layer=layer)  # not as submodules

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["layer"], name)


class _Known(_StandIn):
    def forward(self, *_: Any, **__: Any) -> Any:
        return self.known


class _Around(_StandIn):
    """Runs the layer on a known input, passes its states to the recorder, or both."""

    def forward(self, hidden: Tensor, *given: Any, **named: Any) -> Any:
        if self.watch is not None:
            self.watch.starts(self.number, self.layer)
        out = self.layer(hidden if self.known is None else self.known, *given, **named)
        if self.watch is not None:
            self.watch.ends(self.number, self.layer, out[0] if isinstance(out, tuple) else out)
        return out


class _Reached(Exception):  # noqa: N818 -- not an error: ends the call
    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self.hidden = hidden


class _End(_StandIn):
    def forward(self, hidden: Tensor, *_: Any, **__: Any) -> NoReturn:
        raise _Reached(hidden)


def find_layers(plm: nn.Module) -> tuple[str, list[nn.Module]]:
    """Path to the list of layers, and the layers; ALBERT's are one. ``ValueError`` without any."""
    depth = getattr(plm.config, "num_hidden_layers", None)
    lists = [
        (name, list(part))
        for name, part in plm.named_modules()
        if isinstance(part, nn.ModuleList) and name.rpartition(".")[2] in USUAL_NAMES
    ]
    found = [each for each in lists if len(each[1]) == depth]
    if found:
        return min(found, key=lambda each: each[0].count("."))  # the outermost
    if depth is not None and isinstance(getattr(plm, "encoder", None), nn.Module):
        return "encoder", [plm.get_submodule("encoder")]
    raise ValueError(
        f"{type(plm).__name__} expects {depth} layers in a list, as its configuration says, and "
        "has no such list. Choose another plm."
    )


def _with_layers(plm: LanguageModel, path: str, layers: list[nn.Module]) -> LanguageModel:
    top = node = _shallow_copy(plm)
    *names, last = path.split(".")
    for name in names:
        child = _shallow_copy(node.get_submodule(name))
        node._modules[name] = child
        node = child
    one = not isinstance(node.get_submodule(last), nn.ModuleList)
    node._modules[last] = layers[0] if one else nn.ModuleList(layers)
    return cast("LanguageModel", top)


def _shallow_copy(module: nn.Module) -> nn.Module:
    made = copy.copy(module)
    made._modules = dict(module._modules)
    return made


def first_position(plm: LanguageModel) -> int:
    """The first position id of a text, from the table of positions (in RoBERTa it is not 0)."""
    tables = [
        part
        for name, part in plm.named_modules()
        if type(part) is nn.Embedding and "position" in name.rpartition(".")[2]
    ]
    if isinstance(plm, StaticModel) or plm.device.type == "meta" or not tables:
        return 0
    asked: dict[nn.Module, int] = {}

    def note(table: nn.Module, given: tuple[Tensor]) -> None:
        asked[table] = int(given[0].min())
        if len(asked) == len(tables):
            raise _AllKnownError

    with suppress(_AllKnownError), ExitStack() as hooks:  # the layers need not run
        for table in tables:
            hooks.enter_context(table.register_forward_pre_hook(note))
        run_once(plm)
    return min(asked.values(), default=0)


class _AllKnownError(Exception):
    pass


@torch.no_grad()
def run_once(plm: LanguageModel) -> None:
    """Run the model on two tokens in evaluation mode."""
    training = plm.training
    plm.eval()
    try:
        plm(input_ids=torch.tensor([[5, 6]]))
    finally:
        plm.train(training)


def ancestors(plm: nn.Module, path: str) -> list[nn.Module]:
    """The modules on the path, starting with the model itself."""
    names = path.split(".")[:-1]
    return [plm, *(plm.get_submodule(".".join(names[: n + 1])) for n in range(len(names)))]


def _watch(
    plm: LanguageModel, around: list[nn.Module], layers: list[nn.Module]
) -> tuple[list[nn.Module], list[nn.Module], int | None]:
    """Modules that run before and after the layers; extra outputs if a layer returns a tuple."""
    beside = [
        part
        for module in around
        for name, part in module.named_children()
        if UNUSED not in name and layers[0] not in set(part.modules()) and part not in around
    ]
    ran: list[nn.Module] = []
    given: list[int | None] = []
    inside = {each: part for part in beside for each in part.modules()}
    inside[layers[0]] = layers[0]

    def note(_: nn.Module, __: Any, out: Any) -> None:
        given.append(len(out) - 1 if isinstance(out, tuple) else None)

    with ExitStack() as hooks, layers[0].register_forward_hook(note):
        for each in inside:
            hook = each.register_forward_pre_hook(lambda part, _: ran.append(inside[part]))
            hooks.enter_context(hook)
        run_once(plm)
    distinct = list(dict.fromkeys(ran))
    after = distinct[distinct.index(layers[0]) + 1 :]
    # an embedding table may be read without a call of its module
    return [part for part in beside if part not in after], after, given[0]
