"""A linear layer whose weights are int8, and whose inputs are rounded to int8 as they come."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

LARGEST = 127


class Int8Linear(nn.Module):
    """``inputs @ weight.T + bias`` as a product of int8, summed in int32.

    Each row of the weights has a scale of its own, and so has each input vector (dynamic
    quantisation, symmetric). Nothing has to be calibrated. torch's own dynamic quantisation gives
    one scale to a whole batch, so that a vector would depend on what it is encoded with, and its
    modules can only be saved as a pickle.

    Attributes:
        weight: ``[out_features, in_features]``, int8.
        scale: ``[out_features]``, what one step of each row of the weights is worth.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(out_features, in_features, dtype=torch.int8))
        self.register_buffer("scale", torch.ones(out_features))
        self.register_buffer("bias", torch.zeros(out_features))

    @classmethod
    @torch.no_grad()
    def of(cls, linear: nn.Linear) -> Int8Linear:
        """A linear layer with its weights rounded."""
        made = cls(linear.in_features, linear.out_features)
        made.scale.copy_(_steps(linear.weight).squeeze(1))
        made.weight.copy_((linear.weight / made.scale[:, None]).round())
        if linear.bias is not None:
            made.bias.copy_(linear.bias)
        return made

    def forward(self, inputs: Tensor) -> Tensor:
        """``[..., in_features]`` -> ``[..., out_features]``."""
        rows = inputs.reshape(-1, inputs.shape[-1])
        step = _steps(rows)
        product = torch._int_mm((rows / step).round_().to(torch.int8), self.weight.t())
        outputs = torch.addcmul(self.bias, product * step, self.scale)
        return outputs.view(*inputs.shape[:-1], -1)


def _steps(rows: Tensor) -> Tensor:
    """What one step of int8 is worth in each row of ``[rows, size]``, ``[rows, 1]``."""
    largest = torch.linalg.vector_norm(rows, float("inf"), dim=1, keepdim=True)
    return (largest / LARGEST).clamp_(min=torch.finfo(rows.dtype).tiny)


def exchange_linears(module: nn.Module, made: Callable[[nn.Linear], nn.Module]) -> None:
    """Put what is made of each linear layer inside a module in its place."""
    for name, part in module.named_children():
        if isinstance(part, nn.Linear):
            setattr(module, name, made(part))
        else:
            exchange_linears(part, made)
