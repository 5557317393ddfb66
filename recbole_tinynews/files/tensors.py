"""Weights on disk as safetensors, written atomically with a checksum; never as a pickle."""

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

# The metadata of a file is one entry, as safetensors writes several in a random order: the checksum
# of all tensors, or, where names share a tensor, it with {name: that of the tensor}, as json.
_CHECKSUM, _SHARED = "checksum", "shared"
_LONGEST_HEADER = 1 << 21  # bytes, for some 20,000 tensors: the parser takes 10 us for each
_MOST_SHARING = 20  # bytes under further names, per byte of the file: the checksum reads all


def save_weights(weights: dict[str, Tensor], path: Path) -> None:
    """Write tensors by name, whole or not at all; a tensor with several names is written once.

    Raises:
        OSError: they cannot be written, as on a full disk.
    """
    shared = _shared(weights)
    distinct = {name: _on_cpu(value) for name, value in weights.items() if name not in shared}
    checksum = _checksum(_with_shared(distinct, shared))
    about = {_CHECKSUM: checksum}
    if shared:
        about = {_SHARED: json.dumps({_CHECKSUM: checksum, "names": shared})}
    write_tensors(distinct, path, about)


def write_tensors(tensors: dict[str, Tensor], path: Path, about: dict[str, str]) -> None:
    """Write metadata and tensors that share no memory, whole or not at all.

    Raises:
        OSError: they cannot be written, as on a full disk.
    """
    try:
        with partial_place(path) as folder:
            folder.mkdir()  # safetensors' own temporary file stays in here after a kill
            place = folder / path.name
            place.touch()
            mode = place.stat().st_mode  # safetensors would make it private
            save_file(tensors, place, about)
            place.chmod(mode)
            os.replace(place, path)
    except SafetensorError as problem:  # only its text has the system's error
        raise OSError(f"{path} could not be written: {problem}") from problem


def load_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a safetensors file, is cut off, or was changed after it was written
            by ``save_weights``.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"Weights are expected in {path}, and there is no such file. "
            "Train the model first, or name the right checkpoint_dir."
        )
    _check_header(path)
    try:
        weights = load_file(path)
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
    except SafetensorError as problem:
        raise ValueError(
            f"{path} expects weights in safetensors format, and cannot be read: {problem}. "
            "Delete it and train again."
        ) from problem
    try:
        if _SHARED in about:
            about = json.loads(about[_SHARED])
            stored = path.stat().st_size
            if (
                sum(weights[name].nbytes for name in about["names"].values())
                > stored * _MOST_SHARING
            ):
                raise ValueError
            weights = _with_shared(weights, about["names"])
        intact = about.get(_CHECKSUM) in (None, _checksum(weights))  # earlier versions write none
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):  # no such names
        intact = False
    if not intact:
        raise ValueError(
            f"{path} was changed after it was written: its checksum differs. Delete it and train "
            "again."
        )
    return weights


def check_weights(path: Path) -> None:
    """Check the header and the bounds of the tensors, without loading them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no safetensors file, or is cut off.
    """
    shapes_of(path)


def shapes_of(path: Path) -> list[list[int]]:
    """Shapes of the tensors; raises as ``check_weights``."""
    _check_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            return [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
    except SafetensorError as problem:
        raise ValueError(f"{path} is no complete safetensors file: {problem}") from problem


def _check_header(path: Path) -> None:
    """Refuse a header that takes long to parse; its size is in the first 8 bytes of the file."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if size > _LONGEST_HEADER:
        raise ValueError(
            f"{path} expects weights in safetensors format, and cannot be read: it begins with a "
            f"header of {size:,} bytes, above the limit of {_LONGEST_HEADER:,}. Delete it and "
            "train again."
        )


def load_into(
    module: nn.Module, weights: dict[str, Tensor], source: Path, prefix: str = ""
) -> None:
    """Load the weights whose names begin with ``prefix`` into ``module``, strictly.

    Raises:
        ValueError: a name is missing or unexpected, or a shape differs.
    """
    own = {
        name.removeprefix(prefix): value
        for name, value in weights.items()
        if name.startswith(prefix)
    }
    expected = module.state_dict()
    missing, unexpected = sorted(expected.keys() - own), sorted(own.keys() - expected)
    reshaped = [
        f"{name} {tuple(own[name].shape)} for {tuple(value.shape)}"
        for name, value in expected.items()
        if name in own and own[name].shape != value.shape
    ]
    if missing or unexpected or reshaped:
        raise ValueError(
            f"{source} expects the weights of a {type(module).__name__} with the same settings, "
            f"got missing {missing[:3]}, unexpected {unexpected[:3]}, other shapes {reshaped[:3]}. "
            "Load it with the settings in the settings.yaml of the same folder."
        )
    module.load_state_dict(own)


def _shared(weights: dict[str, Tensor]) -> dict[str, str]:
    """For each name whose tensor has an earlier name too, that name."""
    first: dict[tuple, str] = {}
    shared = {}
    for name, value in weights.items():
        place = value.device, value.data_ptr(), value.dtype, value.shape, value.stride()
        known = first.setdefault(place, name)
        if known != name and value.numel():  # empty tensors have no address
            shared[name] = known
    return shared


def _with_shared(weights: dict[str, Tensor], shared: dict[str, str]) -> dict[str, Tensor]:
    """Weights, with the further names of shared tensors."""
    return {**weights, **{name: weights[known] for name, known in shared.items()}}


def _on_cpu(value: Tensor) -> Tensor:
    """A contiguous copy on the CPU: safetensors refuses shared memory."""
    return value.detach().cpu().contiguous().clone()


def _checksum(weights: dict[str, Tensor]) -> str:
    """A digest of names, types, shapes and values; the tensors are on the CPU."""
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        # as bytes: numpy doesn't know every type
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
