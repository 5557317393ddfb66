"""Weights as safetensors, written atomically with a checksum; never a pickle."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from recbole_tinynews.files.whole import partial_place

WEIGHTS, COPIES = "model.safetensors", "copies"  # of a training: weights, folder of checkpoints

# Metadata is one entry, since safetensors writes several in random order: JSON with {alias: name of
# the same tensor} and the checksum of that and of all tensors.
_ABOUT, _CHECKSUM, _SHARED = "about", "checksum", "shared"
_LONGEST_HEADER = 1 << 21  # bytes, some 20,000 tensors: parsing takes 10 us each


def save_weights(weights: dict[str, Tensor], path: Path) -> None:
    """Write tensors by name, atomically, shared ones once; ``OSError`` if that fails."""
    shared = _shared(weights)
    # contiguous copies: safetensors refuses shared memory
    distinct = {
        name: value.detach().cpu().contiguous().clone()
        for name, value in weights.items()
        if name not in shared
    }
    about = {_CHECKSUM: _checksum(distinct, shared), _SHARED: shared}
    with partial_place(path) as folder:
        folder.mkdir()  # keeps safetensors' temporary file, left by a kill
        place = folder / path.name
        place.touch()
        mode = place.stat().st_mode  # safetensors makes files private
        save_file(distinct, place, {_ABOUT: json.dumps(about)})
        place.chmod(mode)
        os.replace(place, path)


def load_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name; ``ValueError`` if damaged, or changed since ``save_weights``."""
    if not path.is_file():
        raise FileNotFoundError(
            f"Weights are expected in {path}, which does not exist. "
            "Train the model first, or name the right checkpoint_dir."
        )
    try:
        _check_header(path)
        weights = load_file(path)
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
    except SafetensorError as problem:
        raise ValueError(
            f"{path} expects weights in safetensors format, but cannot be read: {problem}. "
            "Delete it and train again."
        ) from problem
    if _ABOUT not in about:  # weights of others have no checksum
        return weights
    try:
        written = json.loads(about[_ABOUT])
        shared = written[_SHARED]
        if _checksum(weights, shared) == written[_CHECKSUM]:
            return weights | {alias: weights[name] for alias, name in shared.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):  # malformed
        pass
    raise ValueError(
        f"{path} was changed after it was written: its checksum differs. Delete it and train again."
    )


def check_weights(path: Path) -> list[list[int]]:
    """Shapes of the tensors; raises as ``load_weights``, but checks only header and bounds."""
    try:
        _check_header(path)
        with safe_open(path, framework="pt") as file:
            return [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
    except SafetensorError as problem:
        raise ValueError(f"{path} is not a complete safetensors file: {problem}") from problem


def _check_header(path: Path) -> None:
    """Refuse an oversized header, slow to parse; its size is in the first 8 bytes."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if size > _LONGEST_HEADER:
        raise SafetensorError(f"a header of {size:,} bytes is above {_LONGEST_HEADER:,}")


def load_into(
    module: nn.Module, weights: dict[str, Tensor], source: Path, prefix: str = ""
) -> None:
    """Strictly load the weights named ``prefix...``; ``ValueError`` for other ones or shapes."""
    named = {name: value for name, value in weights.items() if name.startswith(prefix)}
    given = {name.removeprefix(prefix): value for name, value in named.items()}
    expected = module.state_dict()
    missing, unexpected = sorted(expected.keys() - given), sorted(given.keys() - expected)
    reshaped = [
        f"{name} {tuple(given[name].shape)} for {tuple(value.shape)}"
        for name, value in expected.items()
        if name in given and given[name].shape != value.shape
    ]
    recast = [
        f"{name} {given[name].dtype} for {value.dtype}"
        for name, value in expected.items()
        if name in given and given[name].is_floating_point() != value.is_floating_point()
    ]
    if missing or unexpected or reshaped or recast:
        found = (missing, unexpected, reshaped, recast)
        told = [f"{[each[:100] for each in names[:3]]}" for names in found]
        raise ValueError(
            f"{source} expects the weights of a {type(module).__name__} with the same settings, "
            f"got missing {told[0]}, unexpected {told[1]}, other shapes {told[2]}, other types "
            f"{told[3]}. "
            "Load it with the settings in the settings.yaml of the same folder."
        )
    module.load_state_dict(given)


def _shared(weights: dict[str, Tensor]) -> dict[str, str]:
    """Map each alias to the first name of the same tensor."""
    first: dict[tuple, str] = {}
    shared = {}
    for name, value in weights.items():
        memory = value.device, value.data_ptr(), value.dtype, value.shape, value.stride()
        first_name = first.setdefault(memory, name)
        if first_name != name and value.numel():  # empty tensors have no address
            shared[name] = first_name
    return shared


def _checksum(weights: dict[str, Tensor], shared: dict[str, str]) -> str:
    """Digest of aliases, and of names, types, shapes and values of CPU tensors."""
    digest = hashlib.sha256(json.dumps(shared, sort_keys=True).encode())
    for name, value in sorted(weights.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        # as bytes: numpy lacks some types
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
