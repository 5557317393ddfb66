"""Asynchronous copies to a device, and its free memory."""

from __future__ import annotations

import torch
from torch import Tensor

FREE_SHARE = 0.5  # of a device's free memory, for tables that may stay on the host


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device; copies to a GPU are asynchronous, from pinned memory."""
    if device.type == "cuda" and not tensor.is_cuda:
        tensor = tensor.pin_memory()  # a no-op if it is pinned
    return tensor.to(device, non_blocking=True)


def has_room(device: torch.device, size: int) -> bool:
    """Whether a table of ``size`` bytes should be on this device; on a CPU it always is."""
    if device.type != "cuda":
        return device.type == "cpu"
    free, _ = torch.cuda.mem_get_info(device)
    return size <= FREE_SHARE * free
