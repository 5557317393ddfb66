"""Hidden states of a language model: observed, recorded, and those of frozen layers stored.

Frozen layers run without dropout, so their outputs are computed once, into a mapped table.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from logging import getLogger
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.encoder.packing import Pack, PackedTexts, on_device, packs
from recbole_tinynews.files.array_cache import TABLE, cached_table, find_arrays
from recbole_tinynews.files.progress import progress_bar
from recbole_tinynews.processes.group import has_room

FREE_SHARE = 0.5  # largest share of the free disk for a table under `use_cache: auto`
TOKENS_AT_ONCE = 2_048  # fixed, so that every build gives the same table
PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
# numpy has no bfloat16: bits are stored as integers
STORED_AS: dict[str, np.dtype] = {
    "fp32": np.dtype("<f4"),
    "fp16": np.dtype("<f2"),
    "bf16": np.dtype("<i2"),
}

Compute = Callable[[NDArray[np.int64], Pack], Tensor]


class Storage(NamedTuple):
    """Where hidden states are stored, and for which texts."""

    folder: Path
    precision: str = "fp32"  # of the stored numbers: fp32, fp16 or bf16
    ample_room: bool = True  # `use_cache: auto`: skip a table over half the free disk, don't raise
    longest: int | None = None  # longest text to store, in tokens; None: no limit


class StateTable(NamedTuple):
    """Hidden states of texts, several rows each; texts that are not stored have none."""

    table: Tensor  # [rows, ...]
    layout: Ragged  # the rows of each text

    def places(self, ids: NDArray[np.int64]) -> Tensor:
        """The rows of these texts."""
        return torch.from_numpy(self.layout.positions(ids))

    def rows(self, places: Tensor, device: torch.device) -> Tensor:
        """States at these rows, on a device."""
        return on_device(self.table.index_select(0, on_device(places, self.table.device)), device)


def open_frozen_states(
    storage: Storage,
    key: str,
    tokens: Ragged,
    hidden_size: int,
    compute: Compute,
    device: torch.device,
) -> StateTable | None:
    """Open the table with this key, which is built if it is missing.

    ``key`` is a digest of frozen weights and tokens. ``compute`` maps text ids and pack to
    ``[tokens, hidden]``. Returns ``None`` if nothing is to be stored or ``ample_room`` is lacking;
    raises ``ValueError`` if the disk cannot hold the table.
    """
    row_bytes = hidden_size * STORED_AS[storage.precision].itemsize
    longest = storage.longest or int(tokens.lengths.max(initial=0))
    layout = Ragged.layout(np.where(tokens.lengths <= longest, tokens.lengths, 0))
    rows = int(layout.offsets[-1])
    if not rows:
        return None
    shape, dtype = (rows, hidden_size), STORED_AS[storage.precision]
    place = storage.folder, "frozen-states", f"{key}-{storage.precision}-{longest}"
    found = find_arrays(*place, writable=True)  # it is read whole to be checked, so once
    # one that is there is used however full the disk is
    if found is None and not _has_room(storage, rows * row_bytes):
        return None

    def fill(table: NDArray) -> None:
        with progress_bar(desc="Frozen layers", total=rows, unit=" tokens") as bar:
            for pack in packs(layout.lengths, TOKENS_AT_ONCE):
                positions = layout.positions(pack.members)
                states = compute(pack.members, pack).to(PRECISIONS[storage.precision]).cpu()
                bits = states.view(torch.int16) if storage.precision == "bf16" else states
                table[positions] = bits.numpy()
                bar.update(len(positions))

    stored = found[TABLE] if found else cached_table(*place, shape, dtype, fill)
    table = torch.from_numpy(stored).view(PRECISIONS[storage.precision])
    return StateTable(table.to(device) if has_room(device, table.nbytes) else table, layout)


def _has_room(storage: Storage, size: int) -> bool:
    storage.folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(storage.folder).free
    if size <= (FREE_SHARE if storage.ample_room else 1) * free:
        return True
    needed = f"{size / 1e9:.1f} GB of the {free / 1e9:.1f} GB free in {storage.folder}"
    if not storage.ample_room:
        raise ValueError(
            f"use_cache=true expects room for the frozen layers' hidden states, {needed}. "
            "Make room, or set use_cache to auto or false."
        )
    getLogger().info(
        f"Hidden states of the frozen layers would take {needed}; they are computed each time."
    )
    return False


class StateRequest(NamedTuple):
    """Layers whose states are wanted, from 1; hidden state 0 is the embedding output."""

    hidden: frozenset[int] = frozenset()
    attention: frozenset[int] = frozenset()
    pooled: bool = False


NO_STATES = StateRequest()


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


class StateRecorder:
    """Collects the states of a request, pack by pack, in a single pass."""

    def __init__(self, request: StateRequest) -> None:
        self.request = request
        self._ids: list[NDArray[np.int64]] = []
        self._hidden: defaultdict[int, list[Tensor]] = defaultdict(list)  # by layer
        self._attention: defaultdict[int, list[Tensor]] = defaultdict(list)
        self._pooled: list[Tensor] = []
        self._vectors: list[Tensor] = []

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
            self._hidden[layer].append(hidden if real is None else hidden[real])

    def add_attention(self, layer: int, scores: Sequence[Tensor], texts: PackedTexts) -> None:
        """Keep the scores of each block, ``[texts, heads, length, length]``."""
        for block, mask in zip(scores, texts.masks(), strict=True):
            pairs = block.permute(0, 2, 3, 1)  # [texts, length, length, heads]
            if mask is None:
                part = pairs.flatten(0, 2)
            else:
                part = pairs[mask[:, :, None] & mask[:, None, :]]
            self._attention[layer].append(part)

    def add_texts(self, ids: NDArray[np.int64], pooled: Tensor, vectors: Tensor) -> None:
        """Keep the pooled texts and vectors of a pack."""
        self._ids.append(ids)
        self._pooled.append(pooled)
        self._vectors.append(vectors)

    def states(self) -> HiddenStates:
        """States collected so far; ``ValueError`` if there are none."""
        if not self._ids:
            raise ValueError(
                "StateRecorder expects at least one text with tokens, got none. Call the news "
                "encoder inside its `record_states` block, with a text that is not empty."
            )
        hidden, attention = (
            {layer: torch.cat(parts) for layer, parts in by_layer.items()}
            for by_layer in (self._hidden, self._attention)
        )
        both = torch.cat(self._pooled), torch.cat(self._vectors)
        return HiddenStates(np.concatenate(self._ids), hidden, attention, *both)
