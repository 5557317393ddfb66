"""State of a model as tensors by name: weights and ``other_parameter_name``'s attributes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from recbole_tinynews.files.tensors import load_into

_OTHER = "other_parameter."
_SPARSE = (".data", ".indices", ".indptr", ".shape")  # of a compressed sparse row matrix


def take_model_state(model: Any) -> dict[str, Tensor]:
    """Weights by name, and other attributes by prefixed name."""
    state = dict(model.state_dict())
    for name, value in model.other_parameter().items():
        state.update(_as_tensors(_OTHER + name, value))
    return state


def put_model_state(model: Any, state: dict[str, Tensor], source: Path) -> None:
    """Load a state; attributes without a saved value become None, unfit weights ``ValueError``."""
    weights = {name: value for name, value in state.items() if not name.startswith(_OTHER)}
    load_into(model, weights, source)
    for name, value in model.other_parameter().items():
        if not isinstance(value, nn.Module):
            setattr(model, name, _from_tensors(_OTHER + name, state, value, model))


def _as_tensors(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, np.ndarray):
        yield name, torch.from_numpy(np.ascontiguousarray(value))
    elif sparse.issparse(value):
        rows = value.tocsr()
        for part, array in zip(
            _SPARSE, (rows.data, rows.indices, rows.indptr, np.array(rows.shape)), strict=True
        ):
            yield name + part, torch.from_numpy(array)
    elif value is not None and not isinstance(value, nn.Module):
        raise ValueError(
            f"{name} expects a tensor, an array or a sparse matrix to be saved, got {type(value)}. "
            "Leave it out of other_parameter_name, or make it one of these."
        )


def _from_tensors(name: str, state: dict[str, Tensor], present: Any, model: Any) -> Any:
    """The value in the type of ``present``, on the model's device."""
    if name + _SPARSE[0] in state:
        data, indices, indptr, shape = (state[name + part].numpy() for part in _SPARSE)
        rows = sparse.csr_matrix((data, indices, indptr), shape=tuple(shape))
        return rows.asformat(present.format) if sparse.issparse(present) else rows
    value = state.get(name)
    if value is None:
        return None
    return value.numpy() if isinstance(present, np.ndarray) else value.to(model.device)
