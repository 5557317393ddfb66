"""Low-rank adapters (LoRA, Hu et al., ICLR 2022) by peft; state dicts hold merged weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from recbole_tinynews.files.installation import pip_install

ADAPTER = "adapter"
SCALE = 2.0  # of adapters: peft's alpha / rank


def add_adapters(plm: nn.Module, layers: Sequence[nn.Module], rank: int) -> None:
    """Add an adapter to every linear layer in ``layers``; nothing else of ``plm`` trains then."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
        from peft.tuners.lora import LoraLayer
    except ModuleNotFoundError:
        raise ValueError(
            f"lora_rank={rank} expects the package peft, which is not installed. Run: "
            f"{pip_install('lora')}"
        ) from None
    inside = {part for layer in layers for part in layer.modules()}
    names = [n for n, part in plm.named_modules() if part in inside and type(part) is nn.Linear]
    if not names:
        raise ValueError(
            f"lora_rank={rank} expects linear maps in the layers that train, and those of "
            f"{type(plm).__name__} have none. Set lora_rank=0."
        )
    config = LoraConfig(r=rank, lora_alpha=int(SCALE * rank), target_modules=names)
    inject_adapter_in_model(config, plm, adapter_name=ADAPTER)
    for part in plm.modules():
        if isinstance(part, LoraLayer):
            part._register_state_dict_hook(_merge)
            part.register_load_state_dict_pre_hook(_split)


def is_adapter(name: str) -> bool:
    """Whether a parameter of this name belongs to an adapter."""
    return ".lora_" in name


def _merge(part: Any, state: dict[str, Tensor], prefix: str, _: Any) -> None:
    of_part = [name for name in state if name.startswith(prefix)]
    values = {name: state.pop(name) for name in of_part}
    with torch.no_grad():
        adapted = values[f"{prefix}base_layer.weight"] + part.get_delta_weight(ADAPTER)
    state[f"{prefix}weight"] = adapted
    if f"{prefix}base_layer.bias" in values:
        state[f"{prefix}bias"] = values[f"{prefix}base_layer.bias"]


def _split(part: Any, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Load plain weights as the base and reset the adapter to zero."""
    for name in ("weight", "bias"):
        if f"{prefix}{name}" in state:
            state[f"{prefix}base_layer.{name}"] = state.pop(f"{prefix}{name}")
    down, up = part.lora_A[ADAPTER].weight, part.lora_B[ADAPTER].weight
    state[f"{prefix}lora_A.{ADAPTER}.weight"] = down.detach().clone()
    state[f"{prefix}lora_B.{ADAPTER}.weight"] = torch.zeros_like(up)
