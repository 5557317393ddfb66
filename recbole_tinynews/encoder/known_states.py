"""Inner states of a frozen teacher, computed once for its student's training."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor

from recbole_tinynews.bars import progress_bar
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.encoder.packing import packs, shortest_first
from recbole_tinynews.encoder.states import States, Taps
from recbole_tinynews.processes.device import has_room, on_device

CGROUP = Path("/sys/fs/cgroup")  # has a container's memory limit

_Name = tuple[str, int]  # kind of a state, and its layer
# rows of a text in the table of each kind, by its number of tokens
_ROWS: dict[str, Callable[[NDArray[np.int64]], NDArray[np.int64]]] = {
    "hidden": lambda lengths: lengths,
    "attention": lambda lengths: lengths**2,
    "pooled": lambda lengths: (lengths > 0).astype(np.int64),
    "vectors": lambda lengths: (lengths > 0).astype(np.int64),
}


class TappedEncoder(Protocol):
    """An encoder with inner states."""

    tokens: Ragged

    def tokens_at_once(self) -> int:
        """Number of tokens that it encodes together."""

    def tap(self, ids: NDArray[np.int64], taps: Taps) -> States:
        """Inner states of these texts, shortest first."""


class KnownStates:
    """Tables of inner states by text id, looked up instead of running a teacher's layers."""

    def __init__(self, taps: Taps, lengths: NDArray[np.int64]) -> None:
        self.taps, self._lengths = taps, lengths
        self._tables: dict[_Name, Tensor] = {}
        self._layouts = {kind: Ragged.layout(rows(lengths)) for kind, rows in _ROWS.items()}

    @classmethod
    @torch.no_grad()
    def compute(
        cls,
        encoder: TappedEncoder,
        ids: NDArray[np.int64],
        taps: Taps,
        share: float,
        show_progress: bool,
    ) -> KnownStates | None:
        """A ``NewsEncoder``'s states of distinct ids; ``None`` if over this share of memory."""
        lengths = np.zeros_like(encoder.tokens.lengths)
        lengths[ids] = encoder.tokens.lengths[ids]
        made = cls(taps, lengths)
        with progress_bar(
            desc="Teacher's states",
            shown=show_progress,
            total=int(lengths.sum()),
            unit=" tokens",
        ) as progress:
            for pack in packs(lengths, encoder.tokens_at_once()):
                parts = _by_name(encoder.tap(pack.members, taps))
                if not made._tables and not made._make_room(parts, share):
                    return None
                for name, part in parts.items():
                    made._tables[name][made._rows(name, pack.members)] = part
                progress.update(int(lengths[pack.members].sum()))
        return made

    def has(self, ids: NDArray[np.int64], lengths: NDArray[np.int64]) -> bool:
        """Whether all of these ids are stored, with these numbers of tokens."""
        return bool((self._lengths[ids] == lengths).all())

    def states(self, ids: NDArray[np.int64], device: torch.device) -> States:
        """States of distinct ids, shortest first, in an encoder's order."""
        ids = ids[shortest_first(self._lengths[ids])]
        found = {
            name: on_device(table.index_select(0, self._rows(name, ids).to(table.device)), device)
            for name, table in self._tables.items()
        }
        hidden, attention = (
            {layer: rows for (kind, layer), rows in found.items() if kind == wanted}
            for wanted in ("hidden", "attention")
        )
        return States(ids, hidden, attention, found["pooled", 0], found["vectors", 0])

    def _rows(self, name: _Name, ids: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(self._layouts[name[0]].positions(ids))

    def _make_room(self, parts: dict[_Name, Tensor], share: float) -> bool:
        shapes = {
            name: (int(self._layouts[name[0]].offsets[-1]), *part.shape[1:])
            for name, part in parts.items()
        }
        size = sum(math.prod(shape) * parts[name].itemsize for name, shape in shapes.items())
        device = next(iter(parts.values())).device
        if device.type == "cpu" or not has_room(device, size):
            device = torch.device("cpu")
            if size > share * free_memory():
                return False
        for name, shape in shapes.items():
            self._tables[name] = torch.empty(shape, dtype=parts[name].dtype, device=device)
        return True


def free_memory() -> int:
    """Bytes that this process may still allocate, respecting a container's limit."""
    free = psutil.virtual_memory().available
    try:
        limit, used = ((CGROUP / f"memory.{name}").read_text() for name in ("max", "current"))
        return min(free, max(0, int(limit) - int(used)))
    except (OSError, ValueError):  # no container, or one without a limit: "max"
        return free


def _by_name(states: States) -> dict[_Name, Tensor]:
    named: dict[_Name, Tensor] = {("hidden", n): part for n, part in states.hidden.items()}
    named.update({("attention", n): part for n, part in states.attention.items()})
    return {**named, ("pooled", 0): states.pooled, ("vectors", 0): states.vectors}
