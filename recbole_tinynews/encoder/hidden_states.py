"""Hidden states of a language model: which are wanted, which can be observed, how they are kept."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.encoder.frozen_states import StateTable
from recbole_tinynews.encoder.packing import PackedTexts, packs, shortest_first
from recbole_tinynews.files.progress import progress_bar
from recbole_tinynews.processes.group import has_room

CGROUP = Path("/sys/fs/cgroup")  # has a container's memory limit


class StateRequest(NamedTuple):
    """Layers whose states are wanted, from 1; hidden state 0 is the embedding output."""

    hidden: frozenset[int] = frozenset()
    attention: frozenset[int] = frozenset()
    pooled: bool = False


NO_STATES = StateRequest()
StateName = tuple[str, int]  # kind of a state, and its layer


class ObservableStates(NamedTuple):
    """Which states of a language model can be observed."""

    hidden: bool  # outputs of each layer
    attention: bool  # scores of each layer's attention

    def refusal(self, request: StateRequest, name: str) -> str | None:
        """Why a model of this name cannot provide these states; ``None`` if it can."""
        # the embedding output and the pooled text are always available
        if (request.hidden - {0} or request.attention) and not self.hidden:
            return (
                "A loss on hidden states expects a language model whose layers can be observed one "
                f"by one, got {name}. Set its weight to 0, or choose another plm."
            )
        if request.attention and not self.attention:
            return (
                "A loss on attention expects a language model that exposes its scores, got "
                f"{name}, whose attention cannot be replaced. Set attention_loss_weight=0, or "
                "choose another plm."
            )
        return None


class HiddenStates(NamedTuple):
    """Hidden states of texts, concatenated, shortest text first, without pad tokens."""

    ids: NDArray[np.int64]  # [texts], in order, without empty texts
    hidden: dict[int, Tensor]  # by layer, [tokens, hidden]
    # by layer, [ordered pairs of tokens of a text, heads]: q . k / sqrt(head_dim), before softmax
    attention: dict[int, Tensor]
    pooled: Tensor  # [texts, hidden], before the dense layer
    vectors: Tensor  # [texts, news_dim], after it

    @classmethod
    def of(cls, ids: NDArray[np.int64], named: Mapping[StateName, Tensor]) -> HiddenStates:
        """States of these texts from ``named``."""
        hidden, attention = (
            {layer: rows for (kind, layer), rows in named.items() if kind == wanted}
            for wanted in ("hidden", "attention")
        )
        return cls(ids, hidden, attention, named["pooled", 0], named["vectors", 0])

    def named(self) -> dict[StateName, Tensor]:
        """All states by kind and layer."""
        named: dict[StateName, Tensor] = {("hidden", n): part for n, part in self.hidden.items()}
        named.update({("attention", n): part for n, part in self.attention.items()})
        return {**named, ("pooled", 0): self.pooled, ("vectors", 0): self.vectors}


class StateRecorder:
    """Collects the states of a request, pack by pack, in a single pass."""

    def __init__(self, request: StateRequest) -> None:
        self.request = request
        self._ids: list[NDArray[np.int64]] = []
        self._parts: defaultdict[StateName, list[Tensor]] = defaultdict(list)

    def deepest(self, frozen: int) -> int:
        """Last layer to compute if layer ``frozen``'s output is known; -1: not even embeddings."""
        hidden = (layer for layer in self.request.hidden if layer < frozen)
        attention = (layer for layer in self.request.attention if layer <= frozen)
        return max([*hidden, *attention], default=-1)

    def scores_of(self, layer: int) -> list[Tensor] | None:
        """A list for the layer's attention scores; ``None`` if they are not wanted."""
        return [] if layer in self.request.attention else None

    def add_hidden(self, layer: int, hidden: Tensor, real: Tensor | None) -> None:
        """Keep the output of a layer, ``[tokens, hidden]``, if it is wanted."""
        if layer in self.request.hidden:
            self._parts["hidden", layer].append(hidden if real is None else hidden[real])

    def add_attention(self, layer: int, scores: Sequence[Tensor], texts: PackedTexts) -> None:
        """Keep the scores of each block, ``[texts, heads, length, length]``."""
        for block, mask in zip(scores, texts.masks(), strict=True):
            pairs = block.permute(0, 2, 3, 1)  # [texts, length, length, heads]
            if mask is None:
                part = pairs.flatten(0, 2)
            else:
                part = pairs[mask[:, :, None] & mask[:, None, :]]
            self._parts["attention", layer].append(part)

    def add_texts(self, ids: NDArray[np.int64], pooled: Tensor, vectors: Tensor) -> None:
        """Keep the pooled texts and vectors of a pack."""
        self._ids.append(ids)
        self._parts["pooled", 0].append(pooled)
        self._parts["vectors", 0].append(vectors)

    def add_states(self, states: HiddenStates) -> None:
        """Keep states that were computed earlier."""
        self._ids.append(states.ids)
        for name, part in states.named().items():
            self._parts[name].append(part)

    def states(self) -> HiddenStates:
        """States collected so far; ``ValueError`` if there are none."""
        if not self._ids:
            raise ValueError(
                "StateRecorder expects at least one text with tokens, got none. Call the news "
                "encoder inside its `record_states` block, with a text that is not empty."
            )
        named = {name: torch.cat(parts) for name, parts in self._parts.items()}
        return HiddenStates.of(np.concatenate(self._ids), named)


class RecordedStates:
    """Tables of a frozen teacher's states by text id, read instead of running its layers."""

    def __init__(self, request: StateRequest, lengths: NDArray[np.int64]) -> None:
        self.request, self._lengths = request, lengths
        self._tables: dict[StateName, StateTable] = {}

    @classmethod
    @torch.no_grad()
    def compute(
        cls,
        states_of: Callable[[NDArray[np.int64]], HiddenStates],
        lengths: NDArray[np.int64],
        tokens_at_once: int,
        request: StateRequest,
        share: float,
        show_progress: bool,
    ) -> RecordedStates | None:
        """States of texts of these lengths, by id; ``None`` if over this share of memory."""
        recorded = cls(request, lengths)
        with progress_bar(
            desc="Teacher's states", shown=show_progress, total=int(lengths.sum()), unit=" tokens"
        ) as progress:
            for pack in packs(lengths, tokens_at_once):
                parts = states_of(pack.members).named()
                if not recorded._tables and not recorded._make_room(parts, share):
                    return None
                for name, part in parts.items():
                    of_name = recorded._tables[name]
                    of_name.table[of_name.places(pack.members)] = part
                progress.update(int(lengths[pack.members].sum()))
        return recorded

    def has(self, ids: NDArray[np.int64], lengths: NDArray[np.int64]) -> bool:
        """Whether all of these ids are stored, with these numbers of tokens."""
        return bool((self._lengths[ids] == lengths).all())

    def states(self, ids: NDArray[np.int64], device: torch.device) -> HiddenStates:
        """States of distinct ids, shortest first, in an encoder's order."""
        ids = ids[shortest_first(self._lengths[ids])]
        tables = self._tables.items()
        named = {name: each.rows(each.places(ids), device) for name, each in tables}
        return HiddenStates.of(ids, named)

    def _make_room(self, parts: dict[StateName, Tensor], share: float) -> bool:
        lengths = self._lengths
        texts = (lengths > 0).astype(np.int64)
        rows = {"hidden": lengths, "attention": lengths**2, "pooled": texts, "vectors": texts}
        layouts = {kind: Ragged.layout(per_text) for kind, per_text in rows.items()}
        shapes = {
            name: (int(layouts[name[0]].offsets[-1]), *part.shape[1:])
            for name, part in parts.items()
        }
        size = sum(math.prod(shape) * parts[name].itemsize for name, shape in shapes.items())
        device = next(iter(parts.values())).device
        if device.type == "cpu" or not has_room(device, size):
            device = torch.device("cpu")
            if size > share * free_memory():
                return False
        for name, shape in shapes.items():
            table = torch.empty(shape, dtype=parts[name].dtype, device=device)
            self._tables[name] = StateTable(table, layouts[name[0]])
        return True


def free_memory() -> int:
    """Bytes that this process may still allocate, respecting a container's limit."""
    free = psutil.virtual_memory().available
    try:
        limit, used = ((CGROUP / f"memory.{name}").read_text() for name in ("max", "current"))
        return min(free, max(0, int(limit) - int(used)))
    except (OSError, ValueError):  # no container, or one without a limit: "max"
        return free
