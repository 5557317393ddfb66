"""Process group of a run, started by torchrun: its devices and collectives."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

from recbole_tinynews.files.array_cache import Arrays, cached_arrays, find_arrays
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


def gpu_numbers(gpu_id: Any) -> str:
    """RecBole's ``gpu_id`` in the form of ``CUDA_VISIBLE_DEVICES``: ``0,1``, or empty for none."""
    ids = gpu_id if isinstance(gpu_id, (list, tuple)) else [gpu_id]
    return ",".join("" if each is None else str(each) for each in ids)


def choose_device(gpu_id: str, use_gpu: bool, is_given: bool) -> torch.device:
    """The device of this process; unlike in RecBole, ``CUDA_VISIBLE_DEVICES`` may choose it.

    Raises ``ValueError`` for a given GPU that does not exist, or fewer GPUs than processes.
    """
    if not (use_gpu and gpu_id):
        return torch.device("cpu")
    if is_given:
        before = os.environ.get("CUDA_VISIBLE_DEVICES")
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu_id
        if not torch.cuda.is_available():
            del os.environ["CUDA_VISIBLE_DEVICES"]
            if before is not None:
                os.environ["CUDA_VISIBLE_DEVICES"] = before
            raise ValueError(
                f"gpu_id={gpu_id} expects a GPU of that number, and torch {torch.__version__} "
                f"finds {torch.cuda.device_count()} GPUs. Leave gpu_id out, or set use_gpu=False"
            )
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda") if launched_group().alone else _own_gpu(local_rank())


def _own_gpu(number: int) -> torch.device:
    if number >= torch.cuda.device_count():
        raise ValueError(
            f"Training expects a GPU for each process of a machine, got process {number} and "
            f"{torch.cuda.device_count()} GPUs. Start fewer processes, or set use_gpu=False."
        )
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


FREE_SHARE = 0.5  # largest share of a device's free memory for a table that may stay on the host


def has_bf16_products(device: torch.device) -> bool:
    """Whether the device multiplies bf16 numbers natively."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", bool)
    return device.type == "cpu" and native()


def has_room(device: torch.device, size: int) -> bool:
    """Whether a table of ``size`` bytes should be on this device; always on a CPU."""
    if device.type != "cuda":
        return device.type == "cpu"
    free, _ = torch.cuda.mem_get_info(device)
    return size <= FREE_SHARE * free


def gather_rows(own: Tensor, counts: Sequence[int]) -> Tensor:
    """Concatenate the rows of all processes by rank; every process must call it.

    The backward pass sums each row's gradient over all processes (reduce-scatter). Of ``own``,
    ``[rows, ...]``, the first ``counts[rank]`` are read; returns ``[sum of counts, ...]``.
    """
    return _Gather.apply(own[: counts[process_group().rank]], tuple(counts))


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, own: Tensor, counts: tuple[int, ...]) -> Tensor:
        context.counts = counts
        padded = own.new_zeros(max(counts), *own.shape[1:])
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,), counts = gradients, context.counts
        processes, rows = len(counts), counts[process_group().rank]
        received = gradient.new_empty(processes * rows, *gradient.shape[1:])
        # gloo's reduce-scatter is an all-reduce, which moves twice as much
        dist.all_to_all_single(received, gradient.contiguous(), [rows] * processes, list(counts))
        return received.view(processes, rows, *gradient.shape[1:]).sum(0), None


@torch.no_grad()
def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """All-reduce gradients, one message per dtype; a gradient in one process becomes one in all."""
    learning = [each for each in parameters if each.requires_grad]
    present = torch.tensor([each.grad is not None for each in learning], dtype=torch.uint8)
    dist.all_reduce(present, dist.ReduceOp.MAX)  # on the host, without synchronising devices
    chosen = [each for each, there in zip(learning, present.tolist(), strict=True) if there]
    for kind in sorted({str(each.dtype) for each in chosen}):
        gradients = []
        for parameter in (each for each in chosen if str(each.dtype) == kind):
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        bucket = torch.cat([each.flatten() for each in gradients])
        dist.all_reduce(bucket)
        parts = bucket.split([each.numel() for each in gradients])
        torch._foreach_copy_(
            gradients, [part.view_as(each) for part, each in zip(parts, gradients, strict=True)]
        )


def all_reduce(values: Tensor) -> Tensor:
    """Sum the tensors of all processes in place; every process must call it."""
    if not process_group().alone:
        dist.all_reduce(values)
    return values


@torch.no_grad()
def broadcast_weights(module: nn.Module) -> None:
    """Copy the first process's trainable weights and buffers to all others."""
    learning = [each for each in module.parameters() if each.requires_grad]
    for tensor in (*learning, *module.buffers()):
        sent = tensor.detach().clone()
        dist.broadcast(sent, src=0)
        if not torch.equal(tensor, sent):
            tensor.copy_(sent)


def shared_arrays(
    folder: Path, name: str, key: str, make: Callable[[], Arrays], writable: bool = False
) -> Arrays:
    """``cached_arrays``, made by all processes and written by the first of each machine."""
    if process_group().alone:
        return cached_arrays(folder, name, key, make, writable)
    found = find_arrays(folder, name, key, writable)
    everywhere = all(all_gather_object(found is not None))
    if found is not None and everywhere:
        return found
    arrays = make()
    if local_rank() == 0:
        cached_arrays(folder, name, key, lambda: arrays)
    all_gather_object(None)
    return find_arrays(folder, name, key, writable) or arrays  # where writing failed
