"""Collectives for tensors and for cached arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from recbole_tinynews.files.array_cache import Arrays, cached_arrays, find_arrays
from recbole_tinynews.processes.group import all_gather_object, local_rank, process_group


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
