"""Learning rates, warm-up and precision; memory between steps."""

from __future__ import annotations

import ctypes
import math
import os
import sys
from contextlib import suppress
from logging import getLogger
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import get_constant_schedule, get_linear_schedule_with_warmup

from recbole_tinynews.encoder.one_text import LANGUAGE_MODEL
from recbole_tinynews.processes.group import has_bf16_products

PLM_PART = f"{LANGUAGE_MODEL}."  # in weight names, also of nested models
_GLIBC_MEMORY = {"GLIBC_TUNABLES", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"}


def parameter_groups(
    model: nn.Module, learning_rate: float, plm_learning_rate: float | None
) -> list[dict]:
    """Trained weights, with the language model's own learning rate (``None``: the same)."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    of_plm = [p for name, p in trained.items() if PLM_PART in name]
    others = [p for name, p in trained.items() if PLM_PART not in name]
    plm_rate = learning_rate if plm_learning_rate is None else plm_learning_rate
    groups = [{"params": others, "lr": learning_rate}, {"params": of_plm, "lr": plm_rate}]
    return [group for group in groups if group["params"]]


def most_steps(batches: int, epochs: int, accumulated: Any, max_steps: Any = None) -> int:
    """Optimizer steps without early stopping; ``accumulated`` batches per step.

    >>> most_steps(5, 2, 2), most_steps(5, 2, 2, 4)
    (6, 4)
    """
    steps = epochs * math.ceil(batches / (accumulated or 1))
    return min(steps, max_steps or steps)


def make_schedule(optimizer: Optimizer, warmup_steps: int | None, steps: int) -> LRScheduler:
    """Linear warm-up, then linear decay to 0 after all ``steps``; constant rates without it."""
    if warmup_steps is None:
        return get_constant_schedule(optimizer)
    return get_linear_schedule_with_warmup(optimizer, warmup_steps, steps)


def keep_freed_memory() -> None:
    """Let glibc keep up to 256 MB of a step's memory for the next, instead of new, zeroed pages.

    Whoever has set glibc's memory in the environment keeps that.
    """
    if sys.platform == "linux" and not _GLIBC_MEMORY & os.environ.keys():
        with suppress(AttributeError):  # musl
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD, the largest that it accepts
            mallopt(-1, 256 << 20)  # M_TRIM_THRESHOLD


def default_precision(device: torch.device) -> str:
    """Bf16 on a GPU with native bf16, otherwise fp32; always fp32 on CPUs, for equal results."""
    return "bf16" if device.type == "cuda" and has_bf16_products(device) else "fp32"


def autocast_dtype(precision: str | None, device: torch.device) -> torch.dtype | None:
    """Autocast type of ``precision`` (``auto``: the fastest); ``None``: float32. Warns if slow."""
    precision = default_precision(device) if precision is None else precision
    native = has_bf16_products(device)
    if precision == "auto":
        otherwise = "fp16" if device.type == "cuda" else "fp32"
        precision = "bf16" if native else otherwise
    if precision == "bf16" and device.type == "cpu" and not native:
        getLogger().warning(
            "precision=bf16 on a processor without bf16 products, which emulates them: training "
            "is many times slower than in fp32. precision=auto chooses what is fast."
        )
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
