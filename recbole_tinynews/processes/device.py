"""A process's device, asynchronous copies to it, and its free memory."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

from recbole_tinynews.processes.group import launched_group, local_rank


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


def device_of(name: str | torch.device) -> torch.device:
    """A device that computes; ``ValueError`` if there is none of that name here."""
    try:
        torch.empty(1, device=name).sum().item()
    except (RuntimeError, AssertionError, NotImplementedError) as problem:
        why = str(problem).partition("\n")[0][:200]
        raise ValueError(
            f"device={name} expects one that computes here, such as cpu or cuda, and torch says: "
            f"{why}. Choose another one."
        ) from problem
    return torch.device(name)


def _own_gpu(number: int) -> torch.device:
    if number >= torch.cuda.device_count():
        raise ValueError(
            f"Training expects a GPU for each process of a machine, got process {number} and "
            f"{torch.cuda.device_count()} GPUs. Start fewer processes, or set use_gpu=False."
        )
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


FREE_SHARE = 0.5  # largest share of a device's free memory for a table that may stay on the host


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Move to a device; copies to a GPU are asynchronous, from pinned memory."""
    if device.type == "cuda" and not tensor.is_cuda:
        tensor = tensor.pin_memory()  # a no-op if pinned already
    return tensor.to(device, non_blocking=True)


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
