"""``--to=torch-int8``: the language model with int8 weights, as safetensors, run by torch alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from recbole_tinynews.encoder.plm_files import bare_plm
from recbole_tinynews.files.tensors import load_into, load_weights, save_weights
from recbole_tinynews.serving.export.description import Description
from recbole_tinynews.serving.export.formats import Format
from recbole_tinynews.serving.export.source import Source
from recbole_tinynews.serving.export.torch_engine import TorchEngine, write_heads

WEIGHTS = "model_int8.safetensors"
LARGEST = 127


class Int8Linear(nn.Module):
    """Linear layer with int8 weights: an int8 product, summed in int32.

    Symmetric dynamic quantisation, without calibration, with a scale for each row of the weights
    and each input vector. torch's own has one scale for a whole batch, so that vectors would
    depend on their batch, and its modules can only be pickled.
    """

    weight: Tensor  # [out_features, in_features], int8
    scale: Tensor  # [out_features], step size of each row
    bias: Tensor

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(out_features, in_features, dtype=torch.int8))
        self.register_buffer("scale", torch.ones(out_features))
        self.register_buffer("bias", torch.zeros(out_features))

    @classmethod
    @torch.no_grad()
    def of(cls, linear: nn.Linear) -> Int8Linear:
        """Quantise a linear layer."""
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
    """The int8 step size of each row, ``[rows, size]`` -> ``[rows, 1]``."""
    largest = torch.linalg.vector_norm(rows, float("inf"), dim=1, keepdim=True)
    return (largest / LARGEST).clamp_(min=torch.finfo(rows.dtype).tiny)


def replace_linears(module: nn.Module, make: Callable[[nn.Linear], nn.Module]) -> None:
    """Replace each linear layer inside a module by ``make(layer)``."""
    for name, part in module.named_children():
        if isinstance(part, nn.Linear):
            setattr(module, name, make(part))
        else:
            replace_linears(part, make)


def _write(source: Source, folder: Path) -> None:
    plm = source.padded("sdpa").plm
    source.write_configuration(folder)
    replace_linears(plm, Int8Linear.of)
    save_weights(plm.state_dict(), folder / WEIGHTS)
    write_heads(source.heads, folder)


def _load(folder: Path, description: Description) -> TorchEngine:
    plm = bare_plm(str(folder))
    replace_linears(plm, Int8Linear.of)
    load_into(plm, load_weights(folder / WEIGHTS), folder / WEIGHTS)
    return TorchEngine(folder, description, plm)


FORMAT = Format(_write, _load, "pytorch", exact=False)
