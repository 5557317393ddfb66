"""Inner states of a frozen teacher, computed once for its student's training."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.encoder.packing import packs, shortest_first
from recbole_tinynews.encoder.states import StateName, States, Taps
from recbole_tinynews.files.progress import progress_bar
from recbole_tinynews.processes.device import has_room, on_device

CGROUP = Path("/sys/fs/cgroup")  # has a container's memory limit

# rows of a text in the table of each kind, by its number of tokens
_ROWS: dict[str, Callable[[NDArray[np.int64]], NDArray[np.int64]]] = {
    "hidden": lambda lengths: lengths,
    "attention": lambda lengths: lengths**2,
    "pooled": lambda lengths: (lengths > 0).astype(np.int64),
    "vectors": lambda lengths: (lengths > 0).astype(np.int64),
}


class KnownStates:
    """Tables of inner states by text id, looked up instead of running a teacher's layers."""

    def __init__(self, taps: Taps, lengths: NDArray[np.int64]) -> None:
        self.taps, self._lengths = taps, lengths
        self._tables: dict[StateName, Tensor] = {}
        self._layouts = {kind: Ragged.layout(rows(lengths)) for kind, rows in _ROWS.items()}

    @classmethod
    @torch.no_grad()
    def compute(
        cls,
        states_of: Callable[[NDArray[np.int64]], States],
        lengths: NDArray[np.int64],
        tokens_at_once: int,
        taps: Taps,
        share: float,
        show_progress: bool,
    ) -> KnownStates | None:
        """States of texts of these lengths, by id; ``None`` if over this share of memory."""
        made = cls(taps, lengths)
        with progress_bar(
            desc="Teacher's states",
            shown=show_progress,
            total=int(lengths.sum()),
            unit=" tokens",
        ) as progress:
            for pack in packs(lengths, tokens_at_once):
                parts = states_of(pack.members).named()
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
        return States.of(ids, found)

    def _rows(self, name: StateName, ids: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(self._layouts[name[0]].positions(ids))

    def _make_room(self, parts: dict[StateName, Tensor], share: float) -> bool:
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
