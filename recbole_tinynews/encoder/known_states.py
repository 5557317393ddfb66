"""Inner states of a frozen teacher, computed once for all steps of its student's training."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.distillation.states import States, Taps
from recbole_tinynews.encoder.device import has_room, on_device
from recbole_tinynews.encoder.packing import packs

CGROUP = Path("/sys/fs/cgroup")  # where a container's limit is


class TappedEncoder(Protocol):
    """The interface of an encoder whose states are kept here."""

    tokens: Ragged

    def tokens_at_once(self) -> int:
        """How many tokens it encodes together."""

    def tap(self, ids: NDArray[np.int64], taps: Taps) -> States:
        """Inner states of these texts, shortest first."""


class KnownStates:
    """Inner states of texts by id, of the layers that ``taps`` asks for.

    Use ``compute``. A step of a student then costs its teacher a look-up instead of a pass through
    all of its layers.
    """

    def __init__(self, taps: Taps, tables: dict[str, Tensor], tokens: Ragged, known: Any) -> None:
        self.taps, self._tables, self._known = taps, tables, known
        lengths = np.where(known, tokens.lengths, 0)
        self._lengths = lengths
        self._layouts = {kind: _layout(size(lengths)) for kind, size in _ROWS.items()}

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
        """States of distinct ids; ``None`` if they take more than this share of free memory."""
        tokens = encoder.tokens
        known = np.zeros(tokens.rows, dtype=bool)
        known[ids] = tokens.lengths[ids] > 0
        lengths = np.where(known, tokens.lengths, 0)
        tables: dict[str, Tensor] = {}
        packed = packs(lengths, encoder.tokens_at_once())
        with tqdm(
            total=int(lengths.sum()),
            desc="Teacher's states",
            unit=" tokens",
            disable=not show_progress,
        ) as progress:
            made = cls(taps, tables, tokens, known)
            for pack in packed:
                parts = _by_name(encoder.tap(pack.members, taps))
                if not tables and not made._make_room(parts, share):
                    return None
                for name, part in parts.items():
                    tables[name][made._rows(name, pack.members)] = part
                progress.update(int(lengths[pack.members].sum()))
        return made

    def has(self, ids: NDArray[np.int64], lengths: NDArray[np.int64]) -> bool:
        """Whether it has the states of all of these ids, of which so many tokens are."""
        return bool((self._lengths[ids] == lengths).all())

    def states(self, ids: NDArray[np.int64], device: torch.device) -> States:
        """States of distinct ids, shortest first, as an encoder would give them."""
        order = np.argsort(self._lengths[ids], kind="stable")
        ids = ids[order[np.searchsorted(self._lengths[ids][order], 0, side="right") :]]
        found = {
            name: on_device(table.index_select(0, self._rows(name, ids).to(table.device)), device)
            for name, table in self._tables.items()
        }
        by_layer: dict[str, dict[int, Tensor]] = {"hidden": {}, "attention": {}}
        for name, rows in found.items():
            kind, _, layer = name.partition(" ")
            if layer:
                by_layer[kind][int(layer)] = rows
        return States(ids, **by_layer, pooled=found["pooled"], vectors=found["vectors"])

    def _rows(self, name: str, ids: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(self._layouts[name.partition(" ")[0]].positions(ids))

    def _make_room(self, parts: dict[str, Tensor], share: float) -> bool:
        """Make the tables that such parts are rows of, if there is memory for them."""
        shapes = {
            name: (int(self._layouts[name.partition(" ")[0]].offsets[-1]), *part.shape[1:])
            for name, part in parts.items()
        }
        size = sum(int(np.prod(shape)) * parts[name].itemsize for name, shape in shapes.items())
        device = next(iter(parts.values())).device
        if device.type == "cpu" or not has_room(device, size):
            device = torch.device("cpu")
            if size > share * free_memory():
                return False
        for name, shape in shapes.items():
            self._tables[name] = torch.empty(shape, dtype=parts[name].dtype, device=device)
        return True


def free_memory() -> int:
    """Bytes that this process may still take, also inside of a container."""
    free = psutil.virtual_memory().available
    try:
        limit, used = ((CGROUP / f"memory.{name}").read_text() for name in ("max", "current"))
        return min(free, max(0, int(limit) - int(used)))
    except (OSError, ValueError):  # no container, or one without a limit: "max"
        return free


_ROWS = {
    "hidden": lambda lengths: lengths,
    "attention": lambda lengths: lengths**2,
    "pooled": lambda lengths: (lengths > 0).astype(np.int64),
    "vectors": lambda lengths: (lengths > 0).astype(np.int64),
}


def _layout(rows: NDArray[np.int64]) -> Ragged:
    """Where the rows of each id are."""
    return Ragged.from_lengths(np.broadcast_to(np.False_, int(rows.sum())), rows)


def _by_name(states: States) -> dict[str, Tensor]:
    named = {f"hidden {layer}": part for layer, part in states.hidden.items()}
    named.update({f"attention {layer}": part for layer, part in states.attention.items()})
    return {**named, "pooled": states.pooled, "vectors": states.vectors}
