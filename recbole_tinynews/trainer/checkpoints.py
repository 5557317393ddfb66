"""Saved weights, and the state ``state/step-N/`` of a training, to resume as if never stopped.

Both are tensors by name and plain values; reading them runs no code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from logging import getLogger
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.optim import Optimizer

from recbole_tinynews.encoder.news_encoder import NewsEncoder
from recbole_tinynews.files.array_cache import content_key
from recbole_tinynews.files.tensors import load_into, load_weights, save_weights
from recbole_tinynews.files.whole import remove, whole_folder

_OTHER = "other_parameter."
_SPARSE = (".data", ".indices", ".indptr", ".shape")  # of a compressed sparse row matrix
STATE = "state"  # folder beside the weights
TENSORS, PROGRESS = "state.safetensors", "progress.json"
STATE_FORMAT = 5
NEEDED = (  # to resume
    *("step", "round", "cur_step", "best_valid_score", "best_valid_result"),
    *("losses", "recent", "budget", "schedule", "scaler", "groups", "optimizer"),
)
_CHECKSUM = "checksum"
_MODEL, _OPTIMIZER, _RANDOM, _CUDA = "model.", "optimizer.", "random.cpu", "random.cuda."
_REUSABLE, _BUFFER = "reusable.", "buffer."


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


class TrainingState(NamedTuple):
    """A saved state: tensors by name, and plain values."""

    tensors: dict[str, Tensor]
    progress: dict[str, Any]


def take_state(model: nn.Module, optimizer: Optimizer, progress: dict[str, Any]) -> TrainingState:
    """Trained weights, buffers, and the states of optimizer, vector caches and generators."""
    tensors: dict[str, Tensor] = {
        _MODEL + name: value for name, value in model.named_parameters() if value.requires_grad
    }
    tensors |= {_BUFFER + name: value for name, value in _buffers(model).items()}
    values: dict[str, dict[str, Any]] = {}
    saved = optimizer.state_dict()
    for index, remembered in saved["state"].items():
        for key, value in remembered.items():
            if isinstance(value, Tensor):
                tensors[f"{_OPTIMIZER}{index}.{key}"] = value
            else:
                values.setdefault(str(index), {})[key] = value
    for name, encoder in _caches(model):
        for key, value in encoder.stale_vectors.state().items():
            tensors[f"{_REUSABLE}{name}.{key}"] = value
    tensors[_RANDOM] = torch.get_rng_state()
    for number, state in enumerate(torch.cuda.get_rng_state_all()):
        tensors[f"{_CUDA}{number}"] = state
    groups = saved["param_groups"]  # with their rates
    return TrainingState(
        tensors, {"format": STATE_FORMAT, "groups": groups, "optimizer": values, **progress}
    )


def put_state(model: nn.Module, optimizer: Optimizer, state: TrainingState) -> None:
    """Restore a state; ``ValueError`` if it is of another model or optimizer."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    saved = _with_prefix(state.tensors, _MODEL)
    same = trained.keys() == saved.keys() and all(
        saved[name].shape == value.shape for name, value in trained.items()
    )
    if not same or len(state.progress["groups"]) != len(optimizer.param_groups):
        raise ValueError("it was saved for another model")
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(saved[name])
        buffers, kept = _buffers(model), _with_prefix(state.tensors, _BUFFER)
        for name in buffers.keys() & kept.keys():
            buffers[name].copy_(kept[name])
    remembered: dict[int, dict[str, Any]] = {
        int(index): dict(values) for index, values in state.progress["optimizer"].items()
    }
    for name, value in _with_prefix(state.tensors, _OPTIMIZER).items():
        index, key = name.split(".", 1)
        remembered.setdefault(int(index), {})[key] = value
    groups = state.progress["groups"]
    optimizer.load_state_dict({"state": remembered, "param_groups": groups})
    for name, encoder in _caches(model):
        reusable = _with_prefix(state.tensors, f"{_REUSABLE}{name}.")
        if reusable:
            encoder.stale_vectors.restore(encoder, reusable)
    torch.set_rng_state(state.tensors[_RANDOM])
    cuda = _with_prefix(state.tensors, _CUDA)
    if cuda and len(cuda) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([cuda[str(number)] for number in range(len(cuda))])


def save_state(folder: Path, state: TrainingState) -> None:
    """Save the state in ``folder``, replacing earlier ones."""
    place = folder / f"step-{state.progress['step']}"
    with whole_folder(place) as unfinished:
        save_weights(state.tensors, unfinished / TENSORS)
        progress = json.loads(json.dumps(state.progress))  # as read back
        progress[_CHECKSUM] = _checksum(progress)
        (unfinished / PROGRESS).write_text(json.dumps(progress), encoding="utf-8")
        remove(place)
    for older in folder.iterdir():
        if older != place:
            remove(older)


def saved_step(folder: Path) -> int | None:
    """Step of the last state in ``folder``, None without one; reads no file."""
    return max(_states(folder), default=None)


def newest_state(folder: Path) -> TrainingState | None:
    """Last complete state in ``folder``; damaged ones are skipped with a warning."""
    found = _states(folder)
    for step in sorted(found, reverse=True):
        try:
            progress = json.loads((found[step] / PROGRESS).read_text(encoding="utf-8"))
            _check(progress)
            return TrainingState(load_weights(found[step] / TENSORS), progress)
        except (OSError, ValueError) as problem:
            getLogger().warning(f"{found[step]} is no state to resume from: {problem}")
    return None


def _states(folder: Path) -> dict[int, Path]:
    found = {path.name.removeprefix("step-"): path for path in folder.glob("step-*")}
    return {int(step): path for step, path in found.items() if step.isdecimal()}


def _check(progress: Any) -> None:
    if not isinstance(progress, dict) or progress.get("format") != STATE_FORMAT:
        found = progress.get("format") if isinstance(progress, dict) else progress
        raise ValueError(f"its format is {found!r:.50}, not {STATE_FORMAT}")
    missing = [name for name in NEEDED if name not in progress]
    if missing:
        raise ValueError(f"{PROGRESS} lacks {', '.join(missing)}")
    if progress.pop(_CHECKSUM, None) != _checksum(progress):
        raise ValueError(f"{PROGRESS} was changed after it was written")


def _checksum(progress: dict[str, Any]) -> str:
    return content_key([json.dumps(progress, sort_keys=True)])


def _caches(model: nn.Module) -> Iterator[tuple[str, NewsEncoder]]:
    for name, module in model.named_modules():
        if isinstance(module, NewsEncoder):
            yield name, module


def _buffers(model: nn.Module) -> dict[str, Tensor]:
    """Those that are saved with the weights, such as the running means of a BatchNorm."""
    saved = model.state_dict().keys()
    return {name: value for name, value in model.named_buffers() if name in saved}


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
