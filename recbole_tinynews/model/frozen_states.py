"""Hidden states behind the frozen layers, computed once and kept in a memory-mapped table.

Frozen layers run without dropout, so what they give for a text never changes: training starts at
the first layer that learns.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from logging import getLogger
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.model.length_groups import length_groups

FREE_SHARE = 0.5  # `use_cache: auto` leaves at least this share of the free disk alone

Compute = Callable[[NDArray[np.int64]], Tensor]


class FrozenStates:
    """Rows of hidden states, one for each token of each text, without padding.

    Shapes:
        table: ``[tokens, hidden]``, float32, memory-mapped.
        offsets: ``[texts + 1]``.
    """

    def __init__(self, table: NDArray[np.float32], offsets: NDArray[np.int64]) -> None:
        self.table, self.offsets = torch.from_numpy(table), offsets

    def rows(self, texts: NDArray[np.int64], width: int) -> Tensor:
        """States of ``texts``, ``[texts, width, hidden]``.

        Behind the last token of a text stands that token's state again: finite, and masked by
        whoever asked for more than the text has.
        """
        last = self.offsets[texts + 1] - 1
        position = np.minimum(self.offsets[texts][:, None] + np.arange(width), last[:, None])
        flat = self.table.index_select(0, torch.from_numpy(position.ravel()))
        return flat.view(len(texts), width, -1)


def open_frozen_states(
    folder: Path,
    key: str,
    tokens: Ragged,
    hidden_size: int,
    compute: Compute,
    only_with_ample_room: bool = True,
) -> FrozenStates | None:
    """The table with this key; where there is none, it is made.

    Args:
        folder: where tables lie.
        key: covers the frozen weights and the tokens, so that a table is never read for others.
        tokens: of the texts.
        hidden_size: of a token's state.
        compute: texts -> ``[texts, width, hidden]``.
        only_with_ample_room: make no table that takes more than half of the free disk, and return
            ``None``. Otherwise a table that the disk cannot hold at all is an error.

    Raises:
        ValueError: the disk cannot hold the table, and it was asked for.
    """
    place = folder / f"frozen-states-{key}.npy"
    shape = (len(tokens.values), hidden_size)
    table = _read(place, shape)
    if table is None:
        folder.mkdir(parents=True, exist_ok=True)
        if not _has_room(folder, shape, only_with_ample_room):
            return None
        _make(place, shape, tokens, compute)
        table = _read(place, shape)
        assert table is not None, "a table that was just written"
    return FrozenStates(table, tokens.offsets)


def _read(place: Path, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    if not place.is_file():
        return None
    try:
        # copy-on-write: torch wants a writable array, the file stays as it is
        table = np.lib.format.open_memmap(place, mode="c")
    except ValueError as problem:
        getLogger().warning(f"{place} cannot be read and is made anew: {problem}")
        return None
    if table.shape != shape or table.dtype != np.float32:
        getLogger().warning(
            f"{place} expects {shape} float32 hidden states, got {table.shape} {table.dtype}, and "
            "is made anew."
        )
        return None
    return table


def _has_room(folder: Path, shape: tuple[int, int], ample: bool) -> bool:
    needed = shape[0] * shape[1] * np.dtype(np.float32).itemsize
    free = shutil.disk_usage(folder).free
    if needed <= (FREE_SHARE if ample else 1) * free:
        return True
    size = f"{needed / 1e9:.1f} GB of the {free / 1e9:.1f} GB free in {folder}"
    if not ample:  # a memory-mapped file that outgrows the disk ends the process without a word
        raise ValueError(
            f"use_cache=true expects room for the frozen layers' hidden states, {size}. "
            "Make room, or set use_cache to auto or false."
        )
    getLogger().info(
        f"Hidden states of the frozen layers would take {size}; they are computed each time."
    )
    return False


def _make(place: Path, shape: tuple[int, int], tokens: Ragged, compute: Compute) -> None:
    """Beside its place first, then renamed: a half-filled table never has the name."""
    handle, unfinished = tempfile.mkstemp(prefix=f".{place.name}-", dir=place.parent)
    os.close(handle)
    try:
        _fill(Path(unfinished), shape, tokens, compute)
        os.replace(unfinished, place)
    finally:
        Path(unfinished).unlink(missing_ok=True)


def _fill(place: Path, shape: tuple[int, int], tokens: Ragged, compute: Compute) -> None:
    table = np.lib.format.open_memmap(place, mode="w+", dtype=np.float32, shape=shape)
    texts = np.flatnonzero(tokens.lengths)
    with tqdm(total=shape[0], desc="Frozen layers", unit=" tokens", disable=None) as bar:
        for group in length_groups(tokens.lengths[texts]):
            members = texts[group]
            states = compute(members).float().cpu().numpy()
            real = np.arange(states.shape[1]) < tokens.lengths[members][:, None]
            first = np.repeat(tokens.offsets[members], tokens.lengths[members])
            place_in_text = np.nonzero(real)[1]
            table[first + place_in_text] = states[real]
            bar.update(int(real.sum()))
    table.flush()
