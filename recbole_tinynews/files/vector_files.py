"""Files of names and vectors, by whatever made them: npz, safetensors or parquet, streamed."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open

from recbole_tinynews.files.parquet import vectors_of_rows
from recbole_tinynews.files.tensors import check_weights
from recbole_tinynews.files.whole import whole_file

IDS, VECTORS, MADE_BY = "ids", "vectors", "made_by"
ID, VECTOR = "id", "vector"  # columns of a table
VALUES_AT_ONCE = 1 << 22

Chunk = tuple[list[str], NDArray[Any]]  # names, and vectors [names, dim] of the file's precision


class IdVectors(NamedTuple):
    """Vectors, ``[ids, dim]``, float32, and whose they are."""

    ids: list[str]
    vectors: NDArray[np.float32]


def read_vectors(path: Path) -> IdVectors:
    """Ids and vectors of a file that fits into memory; errors as of ``vector_chunks``."""
    names, vectors = zip(*vector_chunks(path), strict=True)
    return IdVectors([*chain(*names)], np.concatenate(vectors).astype(np.float32))


def vector_chunks(path: Path) -> Iterator[Chunk]:
    """Names and vectors of a file, a part at a time; ``ValueError`` if it has another content.

    ``.npz``: arrays ``ids`` and ``vectors``; ``.safetensors``: the same, ``ids`` as the bytes of a
    JSON list; ``.parquet``: columns ``id`` and ``vector``. A name is an id or a title.
    """
    seen: set[str] = set()
    size = vector_size(path)
    with _readable(path):
        for names, vectors in _READERS[path.suffix](path):
            before = len(seen)
            seen.update(names)
            if vectors.shape != (len(names), size) or len(seen) != before + len(names):
                raise ValueError(
                    f"one vector is needed for each of distinct ids, got {len(names):,} ids, "
                    f"{len(seen) - before:,} of them new, and vectors of shape {vectors.shape}."
                )
            if not np.isfinite(vectors).all():
                raise ValueError("numbers must be finite, got NaN or infinity.")
            yield names, vectors


def vector_size(path: Path) -> int:
    """Size of a file's vectors; ``ValueError`` if it has none."""
    with _readable(path):
        for _, vectors in _READERS[path.suffix](path):
            if vectors.ndim == 2 and vectors.size:
                return vectors.shape[1]
            break
        raise ValueError("there is no vector in it.")


def maker_of(path: Path) -> str:
    """Digest of the language model whose states the vectors are; empty if the file has none."""
    with _readable(path):
        if path.suffix != ".npz":
            return ""
        with np.load(path, allow_pickle=False) as arrays:
            return str(arrays[MADE_BY]) if MADE_BY in arrays else ""


def write_vectors(
    path: Path, names: Sequence[str], size: int, parts: Iterable[NDArray[Any]], made_by: str = ""
) -> None:
    """Write a ``.npz`` of float32, whole or not at all; ``parts`` together have a row a name."""
    with whole_file(path) as place, zipfile.ZipFile(place, "w") as file:
        for name, values in ((IDS, np.array(names)), (MADE_BY, np.array(made_by))):
            with file.open(f"{name}.npy", "w") as stream:
                np.lib.format.write_array(stream, values, allow_pickle=False)
        with file.open(f"{VECTORS}.npy", "w", force_zip64=True) as stream:
            shape = len(names), size
            about = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_2_0(stream, about)
            for part in parts:
                stream.write(np.ascontiguousarray(part, "<f4").data)


def _of_npz(path: Path) -> Iterator[Chunk]:
    with np.load(path, allow_pickle=False) as arrays:
        names = arrays[IDS].astype(str).tolist()
    with zipfile.ZipFile(path) as file, file.open(f"{VECTORS}.npy") as stream:
        version = np.lib.format.read_magic(stream)
        header = {(1, 0): np.lib.format.read_array_header_1_0}
        read_header = header.get(version, np.lib.format.read_array_header_2_0)
        shape, by_columns, kind = read_header(stream)
        if len(shape) != 2 or shape[0] != len(names) or by_columns or kind.kind != "f":
            raise ValueError(
                f"{VECTORS} must be {len(names):,} rows of floats, got {kind} of shape {shape}."
            )
        for some in _parts(names, shape[1]):
            block = stream.read(len(some) * shape[1] * kind.itemsize)
            yield some, np.frombuffer(block, kind).reshape(len(some), shape[1])


def _of_safetensors(path: Path) -> Iterator[Chunk]:
    check_weights(path)
    with safe_open(path, "pt") as file:
        names = [*map(str, json.loads(bytes(file.get_tensor(IDS).numpy())))]
        vectors, start = file.get_slice(VECTORS), 0
        shape = vectors.get_shape()
        if len(shape) != 2 or shape[0] != len(names):
            raise ValueError(f"{VECTORS} must have {len(names):,} rows, got shape {shape}.")
        for some in _parts(names, shape[1]):
            block = vectors[start : start + len(some)]
            yield some, (block.float() if block.dtype == torch.bfloat16 else block).numpy()
            start += len(some)


def _parts(names: list[str], size: int) -> Iterator[list[str]]:
    step = max(1, VALUES_AT_ONCE // max(size, 1))
    for start in range(0, len(names), step):
        yield names[start : start + step]


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        if path.suffix not in SUFFIXES:
            raise ValueError(f"its name must end with {', '.join(SUFFIXES)}.")
        yield
    except (*_DAMAGE, KeyError, TypeError, ValueError, OSError) as problem:
        raise ValueError(
            f"{path} must be a file of ids and vectors, got {type(problem).__name__}: {problem} "
            f"Write arrays {IDS} and {VECTORS} to a .npz, the same to a .safetensors with {IDS} as "
            f"the bytes of a JSON list, or columns {ID} and {VECTOR} to a .parquet."
        ) from problem


# what a cut-off or renamed .npz makes numpy raise
_DAMAGE = zipfile.BadZipFile, EOFError, AttributeError
_READERS: dict[str, Callable[[Path], Iterator[Chunk]]] = {
    ".npz": _of_npz,
    ".safetensors": _of_safetensors,
    ".parquet": partial(vectors_of_rows, name=ID, vector=VECTOR),
}
SUFFIXES = (*_READERS,)
