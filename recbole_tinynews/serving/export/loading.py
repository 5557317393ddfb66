"""Reads any export back, to rank from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from recbole_tinynews.serving.engine import Engine
from recbole_tinynews.serving.export.description import Description, read_description
from recbole_tinynews.serving.export.onnx_engine import OnnxEngine
from recbole_tinynews.serving.export.torch_engine import TorchEngine, int8_engine

ENGINES: dict[str, Callable[[Path, Description], Engine]] = {
    "hf": TorchEngine,
    "sentence-transformers": TorchEngine,
    "onnx": OnnxEngine,
    "onnx-int8": OnnxEngine,
    "torch-int8": int8_engine,
}


def load_export(folder: str | Path) -> Engine:
    """What ranks from the export in ``folder``; none of its code is run.

    Raises:
        FileNotFoundError: the folder holds no export.
        ValueError: it is damaged, or of a format that this version does not know.
        ModuleNotFoundError: it needs onnxruntime, which is not installed.
    """
    folder = Path(folder)
    description = read_description(folder)
    if description.to not in ENGINES:
        raise ValueError(
            f"{folder} is an export to {description.to!r}, and this version of recbole_tinynews "
            f"reads {', '.join(ENGINES)}. Install the version that wrote it."
        )
    return ENGINES[description.to](folder, description)
