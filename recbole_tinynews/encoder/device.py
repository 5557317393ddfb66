"""Asynchronous copies to a device, and its free memory."""

from __future__ import annotations

import torch
from torch import Tensor

FREE_SHARE = 0.5  # largest share of a device's free memory for a table that may stay on the host


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Move to a device; copies to a GPU are asynchronous, from pinned memory."""
    if device.type == "cuda" and not tensor.is_cuda:
        tensor = tensor.pin_memory()  # a no-op if pinned already
    return tensor.to(device, non_blocking=True)


def has_room(device: torch.device, size: int) -> bool:
    """Whether a table of ``size`` bytes should be on this device; always on a CPU."""
    if device.type != "cuda":
        return device.type == "cpu"
    free, _ = torch.cuda.mem_get_info(device)
    return size <= FREE_SHARE * free
