"""Files of ids and vectors, by whatever made them: npz, safetensors or parquet."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.files.parquet import read_rows
from recbole_tinynews.files.tensors import load_weights

IDS, VECTORS = "ids", "vectors"
ID, VECTOR = "id", "vector"  # columns of a table
SUFFIXES = (".npz", ".safetensors", ".parquet")


class IdVectors(NamedTuple):
    """Vectors, ``[ids, dim]``, float32, and whose they are."""

    ids: list[str]
    vectors: NDArray[np.float32]


def read_vectors(path: Path) -> IdVectors:
    """Ids and vectors of a file; ``ValueError`` if it has another content.

    ``.npz``: arrays ``ids`` and ``vectors``; ``.safetensors``: the same, ``ids`` as the bytes of a
    JSON list; ``.parquet``: columns ``id`` and ``vector``.
    """
    try:
        ids, vectors = _READERS[path.suffix](path)
    except (*_DAMAGE, KeyError, TypeError, ValueError, OSError) as problem:
        raise ValueError(
            f"{path} must be a file of ids and vectors, got {type(problem).__name__}: {problem} "
            f"Write arrays {IDS} and {VECTORS} to a .npz, the same to a .safetensors with {IDS} as "
            f"the bytes of a JSON list, or columns {ID} and {VECTOR} to a .parquet."
        ) from problem
    if vectors.ndim != 2 or len(ids) != len(vectors) or len({*ids}) != len(ids):
        raise ValueError(
            f"{path} must have one vector for each of its ids, got {len(ids):,} ids, "
            f"{len({*ids}):,} of them distinct, and vectors of shape {vectors.shape}."
        )
    if not np.isfinite(vectors).all():
        raise ValueError(f"{path} must have finite numbers, got NaN or infinity.")
    return IdVectors(ids, vectors)


def _of_npz(path: Path) -> IdVectors:
    with np.load(path, allow_pickle=False) as arrays:
        return IdVectors(arrays[IDS].astype(str).tolist(), arrays[VECTORS].astype(np.float32))


def _of_safetensors(path: Path) -> IdVectors:
    tensors = load_weights(path)
    ids = [*map(str, json.loads(bytes(tensors[IDS].numpy())))]
    return IdVectors(ids, tensors[VECTORS].float().numpy())


def _of_parquet(path: Path) -> IdVectors:
    ids, vectors = [], []
    for _, row in read_rows(path, (ID, VECTOR)):
        ids.append(str(row[ID]))
        vectors.append(np.array(row[VECTOR], np.float32))  # lists of numbers take ten times as much
    return IdVectors(ids, np.stack(vectors))


# what a cut-off or renamed .npz makes numpy raise
_DAMAGE = zipfile.BadZipFile, EOFError, AttributeError
_READERS = dict(zip(SUFFIXES, (_of_npz, _of_safetensors, _of_parquet), strict=True))
