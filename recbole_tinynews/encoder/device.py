"""Moving arrays to a device without waiting for it, and asking it for room."""

from __future__ import annotations

import torch
from torch import Tensor

FREE_SHARE = 0.5  # of a device's free memory, for tables that may stay on the host


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device; a GPU copies it from pinned memory, and is not waited for."""
    if device.type == "cuda" and not tensor.is_cuda:
        tensor = tensor.pin_memory()  # nothing happens if it is
    return tensor.to(device, non_blocking=True)


def has_room(device: torch.device, size: int) -> bool:
    """Whether a table of so many bytes should live on this device; on a CPU it does anyway."""
    if device.type != "cuda":
        return device.type == "cpu"
    free, _ = torch.cuda.mem_get_info(device)
    return size <= FREE_SHARE * free
