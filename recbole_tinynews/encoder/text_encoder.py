"""The text encoder of a language model: packed texts in, one vector per text out."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.encoder.attention import set_dropout
from recbole_tinynews.encoder.hidden_states import StateRecorder
from recbole_tinynews.encoder.layers import layers_of
from recbole_tinynews.encoder.packing import PackedTexts, packs, tokens_at_once
from recbole_tinynews.encoder.pooling import (
    PROJECTION,
    AttentionPooling,
    TokenBag,
    UnitDense,
    pool_texts,
    projected,
    weighted_mean_of_rows,
)
from recbole_tinynews.encoder.static_model import LanguageModel

Pooling = Literal["attention", "mean", "cls", "last", "weighted_mean"]
NOT_OF_A_STATE = {"num_hidden_layers", "_name_or_path", "transformers_version", "architectures"}


class EncodedTexts(NamedTuple):
    """Encodings of packed texts."""

    pooled: Tensor  # [texts, hidden], before the dense layer
    vectors: Tensor  # [texts, news_dim], after it


class TextVectors(nn.Module):
    """Packed texts in, one vector per text out: the base of text encoders."""

    pad_token_id = 0
    first_trained = 0  # number of frozen layers

    def __init__(self) -> None:
        super().__init__()
        self.trained_texts = self.trained_tokens = 0  # encoded with gradients so far

    def encode(
        self,
        texts: PackedTexts,
        frozen: Tensor | None = None,
        recorder: StateRecorder | None = None,
    ) -> EncodedTexts:
        """Encodings of a row of texts, in its order; ``frozen``: output of frozen layers."""
        raise NotImplementedError

    def zeros(self, texts: int) -> Tensor:
        """Vectors of empty texts, ``[texts, news_dim]``."""
        raise NotImplementedError

    def width(self) -> int:
        """Numbers per token in its widest layer."""
        raise NotImplementedError

    def identity_heads(self) -> Iterator[UnitDense]:
        """Dense layers that start as the identity; while one is yielded, it encodes texts."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        """The device of its weights."""
        return next(self.parameters()).device

    def compute_dtype(self) -> torch.dtype:
        """Type of activations: autocast's if it is on, else that of the weights."""
        if torch.is_autocast_enabled(self.device.type):
            return torch.get_autocast_dtype(self.device.type)
        return next(self.parameters()).dtype

    def tokens_at_once(self) -> int:
        """Number of tokens that are encoded together."""
        return tokens_at_once(self.device, self.width() * self.compute_dtype().itemsize)

    def content(self) -> Iterator[str | bytes]:
        """Everything that determines a vector."""
        yield from weights_content(self)


class TextEncoder(TextVectors):
    """Language model, pooling over its last hidden states, dense layer (PLM-NR's news encoder).

    The last layers train. The others are frozen and run without dropout, so their output for a text
    never changes.

    Args:
        plm: a model of transformers; ``ValueError`` if it cannot be run layer by layer.
        news_dim: size of a vector.
        query_dim: size of the query of attention pooling.
        pooling: over tokens: ``attention``, ``mean``, a mean whose weights grow with the position
            (``weighted_mean``), the first (``cls``) or the last token (``last``).
        finetune_layers: the last n layers train; ``all``: the embeddings too. In a model without
            layers the vectors of tokens train, unless 0.
        dropout: of the layers that train.
        mask_padding: whether pooling ignores pad tokens (docs/method.md, section 3).
        pretrained_heads: whether pooling and dense layer start as mean and ``UnitDense``.
    """

    def __init__(
        self,
        plm: LanguageModel,
        news_dim: int,
        query_dim: int,
        pooling: Pooling = "attention",
        finetune_layers: int | Literal["all"] = "all",
        dropout: float = 0.1,
        mask_padding: bool = True,
        pretrained_heads: bool = False,
    ) -> None:
        super().__init__()
        self.plm, self._layers = plm, layers_of(plm)
        # with the versions of the weights that made it
        self._bag: tuple[tuple[int, ...], TokenBag | None] | None = None
        self.pooling_kind, self.mask_padding = pooling, mask_padding
        self.hidden_size = plm.config.hidden_size
        self.pad_token_id = plm.config.pad_token_id or 0
        self.pooling = (
            AttentionPooling(self.hidden_size, query_dim, starts_as_mean=pretrained_heads)
            if pooling == "attention"
            else None
        )
        dense = UnitDense if pretrained_heads else nn.Linear
        self.dense: nn.Linear = dense(pooled_size(plm), news_dim)
        self.exit_heads = nn.ModuleDict()  # by number of layers
        self._encodes_at = self.depth
        is_static = not self.depth and bool(finetune_layers)
        self.embeddings_train = finetune_layers == "all" or is_static
        trained = self.depth if finetune_layers == "all" else min(finetune_layers, self.depth)
        self.first_trained = self.depth - trained
        self._freeze(dropout)
        self.train(self.training)

    @property
    def layers(self) -> list[nn.Module]:
        """The layers of its language model, first to last."""
        return self._layers.layers

    @property
    def depth(self) -> int:
        """Number of layers of its language model."""
        return len(self._layers.layers)

    @property
    def word_embeddings(self) -> nn.Parameter:
        """Embeddings of the vocabulary, ``[vocabulary, hidden]``."""
        return self.plm.get_input_embeddings().get_parameter("weight")

    @property
    def heads(self) -> dict[str, nn.Module]:
        """The parts after the language model: pooling, if it has weights, and the dense layer."""
        parts = {"pooling": self.pooling, "dense": self.dense}
        return {name: part for name, part in parts.items() if part is not None}

    def add_exits(self, layers: Iterable[int]) -> None:
        """Train vectors of fewer layers too, by heads of their own; ascending."""
        for each in layers:
            self.exit_heads[str(each)] = nn.ModuleDict(copy.deepcopy(self.heads))

    def _heads_at(self, layers: int) -> dict[str, Any]:
        exits: dict[str, Any] = {**self.exit_heads, str(self.depth): self.heads}
        return dict(exits[str(layers)])

    @property
    def exits(self) -> tuple[int, ...]:
        """Numbers of layers, all last; in training, the vectors after each are concatenated."""
        return (*map(int, self.exit_heads), self.depth)

    @contextmanager
    def encoding_at(self, layers: int) -> Iterator[None]:
        """In evaluation, give the vectors of an exit."""
        self._encodes_at = layers
        try:
            yield
        finally:
            self._encodes_at = self.depth

    def identity_heads(self) -> Iterator[UnitDense]:
        """Those of each exit."""
        for layers in self.exits:
            dense = self._heads_at(layers)["dense"]
            if isinstance(dense, UnitDense):
                with self.encoding_at(layers):
                    yield dense

    def _freeze(self, dropout: float) -> None:
        trained = self.layers[self.first_trained :]
        if trained:
            trained += self._layers.after
        if self.embeddings_train and self.depth:
            trained += self._layers.before
        elif self.embeddings_train:
            trained.append(self.plm.get_input_embeddings())
        around = self._layers.around if self.embeddings_train else []  # may have their own dropout
        for part in (*around, *(inner for module in trained for inner in module.modules())):
            set_dropout(part, dropout)
        self.plm.requires_grad_(False)
        for module in trained:
            module.requires_grad_(True)
        self._trained = {part for module in trained for part in module.modules()}
        self._trained.update(around)
        self._trained.update(
            part for module in around for part in module.children() if isinstance(part, nn.Dropout)
        )

    @property
    def frozen_modules(self) -> list[nn.Module]:
        """The frozen parts of the language model, first to last."""
        frozen = self.layers[: self.first_trained]
        if not self.embeddings_train:
            frozen = [*self._layers.before, *frozen]
        return frozen if self.first_trained < self.depth else [*frozen, *self._layers.after]

    def train(self, mode: bool = True) -> TextEncoder:
        """Set the mode; frozen layers stay in evaluation mode."""
        super().train(mode)
        for module in self.plm.modules():
            module.training = mode and module in self._trained
        return self

    def encode(
        self,
        texts: PackedTexts,
        frozen: Tensor | None = None,
        recorder: StateRecorder | None = None,
    ) -> EncodedTexts:
        """Encodings of a row of texts, in its order; ``frozen`` is ``encode_frozen``'s output."""
        if recorder is None and self.is_bag(texts) and (bag := self._token_bag()) is not None:
            pooled = projected(self.plm, bag.pool(texts))
            return EncodedTexts(pooled, self.dense(pooled))
        if frozen is None:
            hidden = self.encode_frozen(texts, recorder)
        else:
            hidden = frozen
            if recorder is not None:
                self._record_frozen(texts, hidden, recorder)
        exits = self.exits if self.training else (self._encodes_at,)
        states = self._trained_states(hidden, texts, recorder, exits)
        each = [self.encodings(s, texts, at) for at, s in zip(exits, states, strict=True)]
        if len(each) == 1:
            return each[0]
        return EncodedTexts(each[-1].pooled, torch.cat([one.vectors for one in each], dim=-1))

    def encodings(self, hidden: Tensor, texts: PackedTexts, layers: int) -> EncodedTexts:
        """Encodings from hidden states after ``layers``, ``[tokens, hidden]``."""
        heads = self._heads_at(layers)
        pooled = self.pool(hidden, texts, heads.get("pooling"))
        return EncodedTexts(pooled, heads["dense"](pooled))

    def is_bag(self, texts: PackedTexts) -> bool:
        """Whether texts may be pooled from the vectors of the vocabulary, each computed once."""
        return (
            not self.depth
            and not self.training
            and self.pooling_kind in ("attention", "mean")
            and not torch.is_grad_enabled()
            and not torch.is_autocast_enabled(self.device.type)
            and (texts.real is None or not self.mask_padding)
        )

    def _token_bag(self) -> TokenBag | None:
        """States and attention of the whole vocabulary; None if they depend on positions."""
        weights = versions(self.parameters())
        if self._bag is None or self._bag[0] != weights:
            (pack,) = packs(np.ones(len(self.word_embeddings), np.int64), sys.maxsize)
            ids = torch.arange(len(self.word_embeddings))
            every = PackedTexts.of(pack, ids).apply(lambda tensor: tensor.to(self.device))
            states = self._layers.embed(every)
            energy = None if self.pooling is None else self.pooling.energy(states)
            positions = [w for name, w in self.plm.named_parameters() if "position" in name]
            depends = any(bool(weight.any()) for weight in positions)
            self._bag = weights, None if depends else TokenBag(states, energy)
        return self._bag[1]

    def encode_frozen(self, texts: PackedTexts, recorder: StateRecorder | None = None) -> Tensor:
        """Input of the first layer that trains, ``[tokens, hidden]``."""
        return self._frozen_part(self.first_trained, texts, recorder)

    def _record_frozen(self, texts: PackedTexts, frozen: Tensor, recorder: StateRecorder) -> None:
        """Run the frozen layers only as deep as is recorded; the output of the last is known."""
        deepest = recorder.deepest(self.first_trained)
        if deepest >= 0:
            self._frozen_part(deepest, texts, recorder)
        if deepest < self.first_trained:
            recorder.add_hidden(self.first_trained, frozen, texts.real)

    def _frozen_part(self, last: int, texts: PackedTexts, recorder: StateRecorder | None) -> Tensor:
        """Output of frozen layer ``last``; 0: of the embeddings."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.embeddings_train):
            hidden = self._layers.embed(texts)
            if recorder is not None:
                recorder.add_hidden(0, hidden, texts.real)
            return self._layers.through(range(1, last + 1), hidden, texts, recorder)

    def _trained_states(
        self,
        hidden: Tensor,
        texts: PackedTexts,
        recorder: StateRecorder | None,
        exits: tuple[int, ...],
    ) -> Iterator[Tensor]:
        """Last hidden states, ``[tokens, hidden]``, at each exit; ``hidden``: the frozen output."""
        if torch.is_grad_enabled():
            self.trained_texts += len(texts.pack.members)
            self.trained_tokens += len(hidden)
        hidden = hidden.to(self.compute_dtype())  # cast once, not in each operation
        before = self.first_trained
        for last in exits:
            hidden = self._layers.through(range(before + 1, last + 1), hidden, texts, recorder)
            before, state = last, hidden
            for module in self._layers.after if last < self.depth else ():
                state = module(state)
            yield state

    def pool(self, hidden: Tensor, texts: PackedTexts, pooling: AttentionPooling | None) -> Tensor:
        """Pooled and projected hidden states, ``[tokens, hidden]`` -> ``[texts, size]``."""
        if self.pooling_kind in ("cls", "last"):
            of_texts = texts.starts[:-1] if self.pooling_kind == "cls" else texts.starts[1:] - 1
            pooled = hidden[of_texts]
        elif self.pooling_kind == "weighted_mean":
            pooled = weighted_mean_of_rows(hidden, texts.starts)
        else:
            pooled = pool_texts(pooling, hidden, texts, self.mask_padding)
        return projected(self.plm, pooled)

    def zeros(self, texts: int) -> Tensor:
        """Vectors of empty texts, ``[texts, news_dim]``; in training for each of ``exits``."""
        exits = len(self.exits) if self.training else 1
        return self.dense.weight.new_zeros(texts, exits * self.dense.out_features)

    def hidden_states(self, tokens: Tensor, lengths: NDArray[np.int64]) -> Tensor:
        """Last hidden states of texts of these lengths, ``[tokens, hidden]``; nothing is stored."""
        rows, places = Ragged.layout(lengths), []
        states: list[Tensor] = []
        for pack in packs(lengths, self.tokens_at_once()):
            places.append(torch.from_numpy(rows.positions(pack.members)).to(self.device))
            texts = PackedTexts.of(pack, tokens[places[-1]])
            texts = texts.apply(lambda tensor: tensor.to(self.device))
            states += self._trained_states(self.encode_frozen(texts), texts, None, (self.depth,))
        together = torch.cat(states)
        return torch.empty_like(together).index_copy(0, torch.cat(places), together)

    def width(self) -> int:
        """That between the two dense layers of a layer of the language model."""
        return getattr(self.plm.config, "intermediate_size", 4 * self.hidden_size)

    def frozen_content(self) -> Iterator[str | bytes]:
        """Everything that determines the output of the frozen layers for a text."""
        yield from self._plm_content()
        for module in self.frozen_modules:
            yield from weights_content(module)

    def _plm_content(self) -> Iterator[str | bytes]:
        yield type(self.plm).__name__
        config = self.plm.config.to_dict()
        yield json.dumps({k: v for k, v in config.items() if k not in NOT_OF_A_STATE}, default=str)

    def content(self) -> Iterator[str | bytes]:
        """All weights by name, the language model's configuration, and the kind of pooling."""
        yield from self._plm_content()
        yield from super().content()
        yield self.pooling_kind


def pooled_size(plm: LanguageModel) -> int:
    """Size of a text's pooled vector: after the dense layers of an embedding model, if any."""
    layers = getattr(plm, PROJECTION, nn.Sequential()).modules()
    sizes = [layer.out_features for layer in layers if isinstance(layer, nn.Linear)]
    return [plm.config.hidden_size, *sizes][-1]


def versions(parameters: Iterable[nn.Parameter]) -> tuple[int, ...]:
    """Storage pointers and version counters of the parameters, which change with their values."""
    return tuple(number for p in parameters for number in (p.data_ptr(), p._version))


def weights_content(module: nn.Module) -> Iterator[str | bytes]:
    """All weights of a module by name, for a digest."""
    for name, value in module.state_dict().items():
        yield name
        yield value.detach().cpu().contiguous().numpy().tobytes()
