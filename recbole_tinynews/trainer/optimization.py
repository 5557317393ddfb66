"""Learning rates, warm-up and precision of a training run."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import get_constant_schedule, get_linear_schedule_with_warmup

from recbole_tinynews.encoder.weight_names import LANGUAGE_MODEL

PLM_PART = f"{LANGUAGE_MODEL}."  # in names of weights, of the model or of a model inside it


def parameter_groups(
    model: nn.Module, learning_rate: float, plm_learning_rate: float | None
) -> list[dict]:
    """The weights that train, those of the PLM with their own rate (``None``: the same)."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    of_plm = [p for name, p in trained.items() if PLM_PART in name]
    others = [p for name, p in trained.items() if PLM_PART not in name]
    plm_rate = learning_rate if plm_learning_rate is None else plm_learning_rate
    groups = [{"params": others, "lr": learning_rate}, {"params": of_plm, "lr": plm_rate}]
    return [group for group in groups if group["params"]]


def make_schedule(optimizer: Optimizer, warmup_steps: int | None, steps: int) -> LRScheduler:
    """Constant rates without ``warmup_steps``; else linear warm-up, then linear decay to 0."""
    if warmup_steps is None:
        return get_constant_schedule(optimizer)
    return get_linear_schedule_with_warmup(optimizer, warmup_steps, steps)


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """The autocast type of ``precision``; ``None``: no autocast, plain float32.

    ``auto`` chooses what is fast on the device: bf16 where it is native, else fp16 on a GPU, else
    float32.
    """
    if precision == "auto":
        if device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        native = getattr(torch.cpu, "_is_avx512_bf16_supported", bool)()
        return torch.bfloat16 if device.type == "cpu" and native else None
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
