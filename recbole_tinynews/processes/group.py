"""The group of processes that one run consists of, and what they tell each other.

torchrun (``torch.distributed.run``) starts the processes and tells each its rank by environment
variables. Tensors on the CPU travel by gloo, those on a GPU by nccl.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from recbole_tinynews.processes.launch import end_with_parent

# For what may take any time, such as a stage that another run is training. A process that is gone
# breaks its connections, and is noticed at once.
PATIENCE = timedelta(days=30)

_patient: Any = None  # torch's group of all processes, with that time-out


class Group(NamedTuple):
    """The place of this process among all of the run.

    Attributes:
        rank: its number, from 0.
        size: number of processes, on all machines.
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes, logs and shows bars."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there is no other."""
        return self.size == 1


ALONE = Group()


def here() -> Group:
    """The group that ``join`` has made; without it this process is alone."""
    if dist.is_available() and dist.is_initialized():
        return Group(dist.get_rank(), dist.get_world_size())
    return ALONE


def asked_for() -> Group:
    """The group that torchrun has started this process in, whether joined yet or not."""
    if "LOCAL_RANK" not in os.environ:
        return ALONE
    return Group(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))


def local_rank() -> int:
    """The number of this process on its machine, from 0; it is that of its GPU."""
    return int(os.environ.get("LOCAL_RANK", 0))


def join(device: torch.device, timeout: float) -> None:
    """Meet the other processes of the run; nothing happens if there are none, or it is done.

    Args:
        device: where this process computes.
        timeout: seconds after which a process that waits for another one gives up with an error.
    """
    global _patient
    if asked_for().alone or dist.is_initialized():
        return
    end_with_parent()
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=timedelta(seconds=timeout))
    _patient = dist.new_group(backend="gloo", timeout=PATIENCE)


def leave() -> None:
    """Close the connections to the other processes."""
    global _patient
    if dist.is_available() and dist.is_initialized():
        _patient = None
        dist.destroy_process_group()


def lost_process(problem: RuntimeError) -> str | None:
    """What an error says about another process that stalled or ended; ``None``: it is no such."""
    text, group = str(problem), here()
    if group.alone:
        return None
    if "timed out" in text.lower() or "timeout" in text.lower():
        what = "another process has stalled: it gave no answer within process_timeout seconds"
    elif isinstance(problem, dist.DistError) or "gloo" in text:
        what = "another process has ended; its own message, if it had one, says why"
    else:
        return None
    return f"{what}. All end now, and the same command resumes from the last saved state. ({text})"


def exchange(value: Any, patient: bool = False) -> list[Any]:
    """The value of each process, by rank; each must call it. What json can hold, can be sent.

    Args:
        value: of this process.
        patient: wait as long as it takes, and not until the time-out.
    """
    group = here()
    if group.alone:
        return [value]
    sent = np.frombuffer(json.dumps(value).encode(), dtype=np.uint8)
    parts = _gather_bytes(sent, _patient if patient else None)
    return [json.loads(part.tobytes()) for part in parts]


def told_by_first(value: Any, patient: bool = False) -> Any:
    """The first process's value, in each process."""
    return exchange(value if here().first else None, patient)[0]


def gather_array(array: NDArray) -> NDArray:
    """The arrays ``[rows]`` of all processes behind each other, by rank; each must call it."""
    if here().alone:
        return array
    kinds = [kind for length, kind in exchange([len(array), array.dtype.str]) if length]
    parts = _gather_bytes(np.ascontiguousarray(array).view(np.uint8), None)
    kind = kinds[0] if kinds else array.dtype.str
    return np.concatenate([part.view(kind) for part in parts])


def _gather_bytes(sent: NDArray[np.uint8], group: Any) -> Sequence[NDArray[np.uint8]]:
    count = dist.get_world_size()
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(count)]
    dist.all_gather(sizes, torch.tensor([len(sent)]), group=group)
    longest = max(1, *(int(size) for size in sizes))
    padded = torch.zeros(longest, dtype=torch.uint8)
    padded[: len(sent)] = torch.from_numpy(sent.copy())
    parts = [torch.empty_like(padded) for _ in range(count)]
    dist.all_gather(parts, padded, group=group)
    return [part[: int(size)].numpy() for part, size in zip(parts, sizes, strict=True)]
