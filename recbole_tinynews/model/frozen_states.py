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


def fits_on_disk(folder: Path, tokens: Ragged, hidden_size: int) -> bool:
    """Whether the table takes no more than half of the free disk."""
    folder.mkdir(parents=True, exist_ok=True)
    needed = len(tokens.values) * hidden_size * np.dtype(np.float32).itemsize
    free = shutil.disk_usage(folder).free
    if needed > FREE_SHARE * free:
        getLogger().info(
            f"Hidden states of the frozen layers would take {needed / 1e9:.1f} GB of the "
            f"{free / 1e9:.1f} GB free in {folder}; they are computed each time instead."
        )
        return False
    return True


def open_frozen_states(
    folder: Path, key: str, tokens: Ragged, hidden_size: int, compute: Compute
) -> FrozenStates:
    """The table with this key, made with ``compute`` (texts -> ``[texts, width, hidden]``) if absent.

    The key must cover the frozen weights and the tokens: a table is never read for others.
    """
    place = folder / f"frozen-states-{key}.npy"
    shape = (len(tokens.values), hidden_size)
    if not place.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        handle, unfinished = tempfile.mkstemp(prefix=f".{place.name}-", dir=folder)
        os.close(handle)
        try:
            _fill(Path(unfinished), shape, tokens, compute)
            os.replace(unfinished, place)
        finally:
            Path(unfinished).unlink(missing_ok=True)
    # copy-on-write: torch wants a writable array, the file stays as it is
    table = np.lib.format.open_memmap(place, mode="c")
    if table.shape != shape or table.dtype != np.float32:
        raise ValueError(
            f"{place} expects {shape} float32 hidden states, got {table.shape} {table.dtype}. "
            "The file is damaged: delete it and start again."
        )
    return FrozenStates(table, tokens.offsets)


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
