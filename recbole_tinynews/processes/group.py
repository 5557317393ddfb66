"""Process group of a run, started by torchrun, and its collectives for plain values."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from recbole_tinynews.processes.launch import end_with_parent

# For long waits, such as for a stage that another run is training. A process that ends breaks its
# connections, and is noticed at once.
PATIENCE = timedelta(days=30)

_patient: Any = None  # torch's group of all processes with this time-out


class Group(NamedTuple):
    """Rank of this process, and number of processes on all machines."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the main process, which writes, logs and shows progress."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether it is the only process."""
        return self.size == 1


ALONE = Group()


def process_group() -> Group:
    """The joined group; before ``join``, this process alone."""
    if dist.is_available() and dist.is_initialized():
        return Group(dist.get_rank(), dist.get_world_size())
    return ALONE


def launched_group() -> Group:
    """The group in which torchrun started this process, joined or not."""
    if "LOCAL_RANK" not in os.environ:
        return ALONE
    return Group(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))


def local_rank() -> int:
    """Number of this process, and so of its GPU, on its machine."""
    return int(os.environ.get("LOCAL_RANK", 0))


def join(device: torch.device, timeout: float) -> None:
    """Join the run's other processes, if any; ``timeout`` in seconds to wait for one."""
    global _patient
    if launched_group().alone or dist.is_initialized():
        return
    end_with_parent()
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=timedelta(seconds=timeout))
    _patient = dist.new_group(backend="gloo", timeout=PATIENCE)


def leave() -> None:
    """Close the connections to other processes."""
    global _patient
    if dist.is_available() and dist.is_initialized():
        _patient = None
        dist.destroy_process_group()


def lost_process(problem: RuntimeError) -> str | None:
    """A message if the error means that another process stalled or ended; otherwise ``None``."""
    text, group = str(problem), process_group()
    if group.alone:
        return None
    if "timed out" in text.lower() or "timeout" in text.lower():
        what = "another process has stalled: it gave no answer within process_timeout seconds"
    elif isinstance(problem, dist.DistError) or "gloo" in text:
        what = "another process has ended; its own message, if it had one, says why"
    else:
        return None
    return f"{what}. All end now; the same command resumes from the last saved state. ({text})"


def all_gather_object(value: Any, patient: bool = False) -> list[Any]:
    """Values of all processes by rank; all must call it. ``patient`` disables the time-out."""
    group = process_group()
    if group.alone:
        return [value]
    values = [None] * group.size
    dist.all_gather_object(values, value, _patient if patient else None)
    return values


def broadcast(value: Any, patient: bool = False) -> Any:
    """The first process's value; every process must call it, and waits for all others."""
    return all_gather_object(value if process_group().first else None, patient)[0]


def gather_array(array: NDArray) -> NDArray:
    """Arrays ``[rows]`` of all processes, concatenated by rank; every process must call it."""
    if process_group().alone:
        return array
    parts = all_gather_object(array)
    return np.concatenate([part for part in parts if len(part)] or parts[:1])


def shard(order: NDArray[np.int64], group: Group) -> NDArray[np.int64]:
    """This process's items of a list sorted by size, dealt round-robin to balance any cost.

    >>> shard(np.array([4, 0, 2, 1, 3]), Group(rank=1, size=2)).tolist()
    [0, 1]
    """
    return order[group.rank :: group.size]


def shard_slice(count: int, group: Group) -> slice:
    """This process's contiguous slice of ``count`` items.

    >>> [shard_slice(5, Group(rank, 3)) for rank in range(3)]
    [slice(0, 1, None), slice(1, 3, None), slice(3, 5, None)]
    """
    return slice(count * group.rank // group.size, count * (group.rank + 1) // group.size)
