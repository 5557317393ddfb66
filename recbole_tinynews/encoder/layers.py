"""Chooses how to run a language model's layers on packed texts, by testing on a few."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tinynews.encoder.attention import Rules, Scores, attend_stacked
from recbole_tinynews.encoder.generic_layers import GenericLayers, Layers, first_position
from recbole_tinynews.encoder.hidden_states import ObservableStates, StateRecorder
from recbole_tinynews.encoder.packing import PackedTexts, packs
from recbole_tinynews.encoder.plm_files import bare_plm, plm_size, quiet
from recbole_tinynews.encoder.static_model import LanguageModel, StaticModel


class BertLayers:
    """``Layers`` of BERT; ``AttributeError`` for other parts."""

    def __init__(self, plm: LanguageModel) -> None:
        self.observable = ObservableStates(hidden=True, attention=True)
        self.around = [plm, plm.get_submodule("encoder")]
        self.before: list[nn.Module] = [plm.get_submodule("embeddings")]
        self.layers = list(cast("nn.ModuleList", plm.get_submodule("encoder.layer")))
        self.after: list[nn.Module] = []
        self.first_position = first_position(plm)

    def embed(self, texts: PackedTexts) -> Tensor:
        """Input of the first layer, ``[tokens, hidden]``."""
        (embeddings,) = self.before
        positions = texts.positions + self.first_position
        if texts.real is not None and self.first_position:
            # RoBERTa's padding has its own position
            positions = torch.where(texts.real, positions, self.first_position - 1)
        return embeddings(
            input_ids=texts.token_ids[None],
            position_ids=positions[None],
            # the default is as short as the position table
            token_type_ids=torch.zeros_like(texts.token_ids)[None],
        )[0]

    def through(
        self, numbers: range, hidden: Tensor, texts: PackedTexts, recorder: StateRecorder | None
    ) -> Tensor:
        """Output of the last of these layers, counted from 1."""
        for number in numbers:
            scores = None if recorder is None else recorder.scores_of(number)
            hidden = apply_layer(self.layers[number - 1], hidden, texts, scores)
            if recorder is not None:
                recorder.add_hidden(number, hidden, texts.real)
                if scores is not None:
                    recorder.add_attention(number, scores, texts)
        return hidden


def apply_layer(
    layer: nn.Module, hidden: Tensor, texts: PackedTexts, scores: Scores | None = None
) -> Tensor:
    """Output of a BERT layer, ``[tokens, hidden]``; ``scores`` collects those before softmax."""
    attention: Any = layer.get_submodule("attention")
    heads: Any = attention.self
    # The key's bias shifts all scores of a query equally, which the softmax ignores: its
    # gradient is rounding errors, which Adam amplifies. A loss on scores does train it.
    key_bias = heads.key.bias.detach() if scores is None else heads.key.bias
    queries_keys_values = F.linear(  # one multiplication instead of three
        hidden,
        torch.cat([heads.query.weight, heads.key.weight, heads.value.weight]),
        torch.cat([heads.query.bias, key_bias, heads.value.bias]),
    )
    stacked = queries_keys_values.view(len(hidden), 3, heads.num_attention_heads, -1)
    rules = Rules(heads.dropout.p if heads.training else 0.0)
    context = attend_stacked(stacked, texts, rules, scores)
    hidden = attention.output(context.flatten(1), hidden)
    return layer.get_submodule("output")(layer.get_submodule("intermediate")(hidden), hidden)


LAYER_RUNNERS: tuple[Callable[[LanguageModel], Layers | None], ...] = (
    BertLayers,
    GenericLayers.packed,
    partial(GenericLayers, in_one_row=False),
    partial(GenericLayers, in_one_row=False, as_one=True),
)
_FOUND: dict[str, Callable[[LanguageModel], Layers | None]] = {}  # by configuration


def layers_of(plm: LanguageModel) -> Layers:
    """The fastest way to run this language model that equals its own code on a few texts.

    ``BertLayers``, or its own code: on one row of texts, on texts of equal length, or as a whole.
    Each configuration is tested once. Raises ``ValueError`` if no way equals its own code.
    """
    if isinstance(plm, StaticModel) or plm.device.type == "meta":  # the latter cannot be run
        return BertLayers(plm)
    configuration = f"{type(plm)} {plm.config.to_json_string(use_diff=False)}"
    if configuration in _FOUND and (known := _FOUND[configuration](plm)) is not None:
        return known
    own_attention, training = plm.config._attn_implementation, plm.training
    problem: Exception | None = None
    plm.eval()
    try:
        probe = Probe(plm)
        for make in LAYER_RUNNERS:
            with quiet():  # some models warn that their attention can't be set
                plm.set_attn_implementation(own_attention)
            try:
                made: Layers | None = make(plm)
            except FAILURES as mistake:  # the model has other parts
                problem = mistake
                continue
            if made is not None and probe.agrees(made):
                _FOUND[configuration] = make
                return made
    except FAILURES as mistake:  # its own code fails on these texts
        problem = mistake
    finally:
        plm.train(training)
    raise ValueError(
        f"{type(plm).__name__} expects more than the tokens of a text, or cannot be run layer by "
        "layer. Choose another plm."
    ) from problem


@lru_cache(maxsize=8)
def observable_states(source: str) -> ObservableStates:
    """Observable states of a language model, tested on two layers with random weights."""
    with torch.random.fork_rng(devices=[]):
        return layers_of(bare_plm(source, min(2, plm_size(source).layers))).observable


TOLERANCE = 2e-5  # relative to the largest state
LENGTHS = (2, 5, 5)
LONGEST_WINDOW = 512  # texts longer than a wider attention window take too long
WINDOWS = ("sliding_window", "local_attention")  # names in a model's configuration
FIRST_ID = 5  # ids from here on are ordinary tokens in every vocabulary

# raised by a model's code that is run in an unsupported way
FAILURES = (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)


class Probe:
    """Expected output for a few texts, by the model's own code in evaluation mode."""

    def __init__(self, plm: LanguageModel) -> None:
        windows = [getattr(plm.config, name, None) for name in WINDOWS]
        beyond = [width + 3 for width in windows if width is not None and width <= LONGEST_WINDOW]
        lengths = np.array([*LENGTHS, *beyond[:1]])
        (pack,) = packs(lengths, int(lengths.sum()))
        ids = torch.arange(int(lengths.sum())) * 7 % (plm.config.vocab_size - FIRST_ID) + FIRST_ID
        # shortest first, as in the pack
        texts = ids.split(sorted(lengths.tolist()))
        self.texts = PackedTexts.of(pack, ids)
        real = torch.ones(len(ids), dtype=torch.bool)
        real[-1] = False  # the last token of the last text
        self.masked_texts = PackedTexts.of(pack, ids, real)
        with torch.no_grad():
            self.expected = torch.cat([_states(plm, text) for text in texts])
            without_last = _states(plm, texts[-1], real[-len(texts[-1]) :])[:-1]
        self.masked = torch.cat([self.expected[: -len(texts[-1])], without_last])

    @torch.no_grad()
    def agrees(self, layers: Layers) -> bool:
        """Whether these layers give the expected output, at once and split in two."""
        try:
            depth = len(layers.layers)
            parts = [
                self._run(layers, split, self.texts) for split in sorted({0, min(1, depth), depth})
            ]
            masked = self._run(layers, 0, self.masked_texts)[:-1]
        except FAILURES:
            return False
        return all(_close(each, self.expected) for each in parts) and _close(masked, self.masked)

    def _run(self, layers: Layers, split: int, texts: PackedTexts) -> Tensor:
        hidden = layers.embed(texts)
        for part in (range(1, split + 1), range(split + 1, len(layers.layers) + 1)):
            hidden = layers.through(part, hidden, texts, None)
        return hidden


def _states(plm: LanguageModel, text: Tensor, real: Tensor | None = None) -> Tensor:
    mask = torch.ones_like(text) if real is None else real.long()
    return plm(input_ids=text[None], attention_mask=mask[None]).last_hidden_state[0]


def _close(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    return bool((one - other).abs().max() <= TOLERANCE * other.abs().max())
