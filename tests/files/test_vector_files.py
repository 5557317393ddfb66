from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from recbole_tinynews.files.vector_files import read_vectors

IDS, VECTORS = ["N1", "Nø", "7"], np.arange(12, dtype=np.float32).reshape(3, 4)


def write(path: Path, ids: list[str], vectors: np.ndarray) -> Path:
    if path.suffix == ".npz":
        np.savez(path, ids=np.array(ids), vectors=vectors)
    elif path.suffix == ".safetensors":
        names = torch.frombuffer(bytearray(json.dumps(ids).encode()), dtype=torch.uint8)
        save_file({"ids": names, "vectors": torch.from_numpy(vectors)}, path)
    else:
        pd.DataFrame({"id": ids, "vector": [*vectors]}).to_parquet(path)
    return path


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".parquet"])
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_ids_and_vectors_are_read_from_every_format(tmp_path: Path, suffix: str, kind) -> None:
    if suffix == ".parquet" and kind is np.float16:
        pytest.importorskip("pyarrow", minversion="15", reason="earlier ones write no half floats")
    found = read_vectors(write(tmp_path / f"vectors{suffix}", IDS, VECTORS.astype(kind)))
    assert found.ids == IDS
    assert found.vectors.dtype == np.float32
    np.testing.assert_array_equal(found.vectors, VECTORS)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".parquet"])
def test_a_vector_without_an_owner_or_a_number_is_refused(tmp_path: Path, suffix: str) -> None:
    """It would be another article's, or make every score NaN."""
    path = tmp_path / f"vectors{suffix}"
    with pytest.raises(ValueError, match="3 ids, 2 of them new"):
        read_vectors(write(path, ["N1", "N1", "7"], VECTORS))
    with pytest.raises(ValueError, match="finite"):
        read_vectors(write(path, IDS, np.where(VECTORS == 5, np.nan, VECTORS)))
    path.write_bytes(b"no such file")
    with pytest.raises(ValueError, match=r"must be a file of ids and vectors, got .* Write arrays"):
        read_vectors(path)
