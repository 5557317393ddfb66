"""Compatibility of RecBole 1.2.1 with current numpy and torch."""

from __future__ import annotations

from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import torch

# numpy names that RecBole uses; numpy 1.24 removed all four, numpy 2 restored two
_NUMPY_NAMES = {"bool": np.bool_, "float": np.float64, "long": np.int_, "str": np.str_}


def apply() -> None:
    """Add numpy names that RecBole needs; pickle generators by value, not in shared memory."""
    for name, scalar in _NUMPY_NAMES.items():
        if name not in vars(np):  # with hasattr, numpy would warn about these names
            setattr(np, name, scalar)
    ForkingPickler.register(torch.Generator, _sent)


def _sent(generator: torch.Generator) -> tuple[Any, ...]:
    state = generator.get_state().numpy().tobytes()
    return _received, (str(generator.device), state)


def _received(device: str, state: bytes) -> torch.Generator:
    generator = torch.Generator(device)
    generator.set_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))
    return generator
