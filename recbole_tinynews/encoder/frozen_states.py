"""Outputs of frozen layers, which run without dropout, computed once into a memory-mapped table."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
from collections.abc import Callable
from logging import getLogger
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.encoder.packing import Pack, packs
from recbole_tinynews.files.array_cache import changed, content_key
from recbole_tinynews.files.progress import progress_bar
from recbole_tinynews.files.whole import exclusive_lock, resumable_file, write_text
from recbole_tinynews.processes.device import has_room, on_device

FREE_SHARE = 0.5  # largest share of the free disk for a table under `use_cache: auto`
TOKENS_AT_ONCE = 2_048  # fixed, so that a resumed build gives the same table
TOKENS_BETWEEN_SAVES = 262_144
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
    budget: float | None = None  # GB per table, filled with the shortest texts; None: no limit
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


class _Plan(NamedTuple):
    place: Path
    precision: str
    shape: tuple[int, int]
    layout: Ragged  # rows of each text; none if it is not stored

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * STORED_AS[self.precision].itemsize


def open_frozen_states(
    storage: Storage,
    key: str,
    tokens: Ragged,
    hidden_size: int,
    compute: Compute,
    device: torch.device,
) -> StateTable | None:
    """Open the table with this key; build it if it is missing, or resume an interrupted build.

    ``key`` is a digest of frozen weights and tokens. ``compute`` maps text ids and pack to
    ``[tokens, hidden]``. Returns ``None`` if nothing is to be stored or ``ample_room`` is lacking;
    raises ``ValueError`` if the disk cannot hold the table.
    """
    row_bytes = hidden_size * STORED_AS[storage.precision].itemsize
    longest = _longest_stored(storage, tokens.lengths, row_bytes)
    layout = Ragged.layout(np.where(tokens.lengths <= longest, tokens.lengths, 0))
    rows = int(layout.offsets[-1])
    if not rows:
        return None
    plan = _Plan(
        storage.folder / f"frozen-states-{key}-{storage.precision}-{longest}.npy",
        storage.precision,
        (rows, hidden_size),
        layout,
    )
    table = _read(plan)
    if table is None:
        storage.folder.mkdir(parents=True, exist_ok=True)
        if not _has_room(plan, storage.ample_room):
            return None
        with exclusive_lock(plan.place, "making it"):  # other processes wait here
            table = _read(plan, warns=False)
            if table is None:
                _make(plan, compute)
                table = _read(plan)
        assert table is not None, "a table that was just written"
    return StateTable(table.to(device) if has_room(device, table.nbytes) else table, layout)


def _longest_stored(storage: Storage, lengths: NDArray[np.int64], row_bytes: int) -> int:
    """Length of the longest stored texts; all shorter ones are stored too."""
    longest = int(lengths.max(initial=0))
    if storage.longest is not None:
        longest = min(longest, storage.longest)
    if storage.budget is not None:
        tokens_up_to = np.cumsum(np.bincount(lengths) * np.arange(lengths.max(initial=0) + 1))
        fitting = np.flatnonzero(tokens_up_to * row_bytes <= storage.budget * 1e9)
        longest = min(longest, int(fitting[-1]) if len(fitting) else 0)
    return longest


def _read(plan: _Plan, warns: bool = True) -> Tensor | None:
    """The table; ``None`` if it is missing or, which it may warn of, unusable."""
    if not plan.place.is_file() and not _checksum_file(plan.place).is_file():
        return None
    problem = "is missing, but has a checksum,"
    if plan.place.is_file():
        problem = "was changed after it was written, or is of an earlier version,"
        if _as_written(plan.place):
            try:
                # copy-on-write: torch wants a writable array, the file is not changed
                table = np.lib.format.open_memmap(plan.place, mode="c")
            except ValueError as mistake:
                problem = f"cannot be read ({mistake})"
            else:
                if table.shape == plan.shape and table.dtype == STORED_AS[plan.precision]:
                    return torch.from_numpy(table).view(PRECISIONS[plan.precision])
                problem = (
                    f"expects {plan.shape} {plan.precision} hidden states, got {table.shape} "
                    f"{table.dtype},"
                )
    if warns:
        getLogger().warning(f"{plan.place} {problem} and is rebuilt.")
    return None


def _as_written(place: Path) -> bool:
    try:
        known = _checksum_file(place).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    return not changed(place.parent, {place.name: known})


def _checksum_file(place: Path) -> Path:
    return place.with_suffix(".checksum")


def _has_room(plan: _Plan, ample: bool) -> bool:
    free = shutil.disk_usage(plan.place.parent).free
    if plan.place.is_file():  # unusable, will be replaced
        free += plan.place.stat().st_size
    if plan.bytes <= (FREE_SHARE if ample else 1) * free:
        return True
    size = f"{plan.bytes / 1e9:.1f} GB of the {free / 1e9:.1f} GB free in {plan.place.parent}"
    if not ample:  # writing to a memory map on a full disk kills the process silently
        raise ValueError(
            f"use_cache=true expects room for the frozen layers' hidden states, {size}. "
            "Make room, lower cache_budget, or set use_cache to auto or false."
        )
    getLogger().info(
        f"Hidden states of the frozen layers would take {size}; they are computed each time. "
        "A lower cache_budget (GB) stores those of the shortest texts."
    )
    return False


def _make(plan: _Plan, compute: Compute) -> None:
    """Build the table under a temporary name, and rename it."""
    plan.place.unlink(missing_ok=True)
    progress = plan.place.with_name(f".{plan.place.name}.json")
    with resumable_file(plan.place) as unfinished:
        table, done = _begin(plan, unfinished, progress)
        _fill(plan, compute, table, done, progress)
        write_text(_checksum_file(plan.place), content_key([unfinished]))
    progress.unlink(missing_ok=True)


def _begin(plan: _Plan, unfinished: Path, progress: Path) -> tuple[np.memmap, int]:
    """The table to fill, and the number of packs that it already holds."""
    if unfinished.is_file() and progress.is_file():
        try:
            done = int(json.loads(progress.read_text())["packs"])
            table = np.lib.format.open_memmap(unfinished, mode="r+")
            if table.shape == plan.shape and table.dtype == STORED_AS[plan.precision]:
                return table, done
        except (ValueError, KeyError, TypeError):
            pass  # truncated: rebuild
    progress.unlink(missing_ok=True)
    table = np.lib.format.open_memmap(
        unfinished, mode="w+", dtype=STORED_AS[plan.precision], shape=plan.shape
    )
    _reserve(unfinished)
    return table, 0


def _reserve(path: Path) -> None:
    """Reserve the disk space: a write into a mapped file on a full disk kills the process."""
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as problem:
            if problem.errno != errno.ENOSPC:
                return  # a file system that cannot reserve
            path.unlink()
            raise ValueError(
                f"{path.parent} expects room for the frozen layers' hidden states, and the disk is "
                "full. Make room, or set use_cache=false."
            ) from problem


def _fill(plan: _Plan, compute: Compute, table: np.memmap, done: int, progress: Path) -> None:
    unsaved = 0
    with progress_bar(desc="Frozen layers", total=plan.shape[0], unit=" tokens") as bar:
        for number, pack in enumerate(packs(plan.layout.lengths, TOKENS_AT_ONCE)):
            positions = plan.layout.positions(pack.members)
            if number >= done:
                states = compute(pack.members, pack).to(PRECISIONS[plan.precision]).cpu()
                bits = states.view(torch.int16) if plan.precision == "bf16" else states
                table[positions] = bits.numpy()
                unsaved += len(positions)
            if unsaved >= TOKENS_BETWEEN_SAVES:
                table.flush()
                write_text(progress, json.dumps({"packs": number + 1}))
                unsaved = 0
            bar.update(len(positions))
    table.flush()
