"""Dropout whose masks a CPU draws about three times as fast as torch's."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_DRAWS = 1 << 16  # of 16 random bits


class Dropout(nn.Dropout):
    """torch's dropout, by ``drop_out``."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Drop out in training mode."""
        return drop_out(inputs, self.p) if self.training else inputs


def drop_out(inputs: Tensor, probability: float) -> Tensor:
    """Dropout; a CPU draws once for four inputs and rounds to multiples of ``2**-16``."""
    if inputs.device.type != "cpu" or not 0 < probability < 1:
        return F.dropout(inputs, probability)
    bits = torch.empty(-(-inputs.numel() // 4), dtype=torch.int64).random_(-(1 << 63), None)
    draws = bits.view(torch.int16)[: inputs.numel()].view(inputs.shape)
    dropped = min(round(probability * _DRAWS), _DRAWS - 1)
    kept = (draws >= dropped - _DRAWS // 2).to(inputs.dtype)
    return inputs * kept.mul_(_DRAWS / (_DRAWS - dropped))


def set_dropout(module: nn.Module, probability: float) -> None:
    """Set the dropout probability of a module itself, not of its submodules."""
    for name, child in module.named_children():
        if isinstance(child, nn.Dropout):
            setattr(module, name, Dropout(probability))
    for name, value in vars(module).items():  # some modules store a number
        if "dropout" in name and isinstance(value, float):
            vars(module)[name] = probability
