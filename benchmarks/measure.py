"""Shared by the benchmarks: their input, timing, and how their figures are printed."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from recbole_tinynews.convert import convert_news


def samples_from(data: Path | None, folder: Path, name: str) -> str:
    """Write atomic files of ``name`` into ``folder``; returns their source."""
    if data is not None:
        convert_news(Path(data) / "mind" / "train", name, valid="last-day", output=folder)
        return "real MIND impressions"
    from synthetic import Settings, generate

    generate(folder / "raw", Settings(news=8_000, users=2_000, impressions=4_000))
    convert_news(folder / "raw" / "train", name, valid="last-day", output=folder)
    return "synthetic impressions"


def seconds_of(work: Callable[[], Any]) -> float:
    """Seconds that one call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def finish(benchmark: str, figures: dict[str, Any]) -> None:
    """Print the last line: one JSON object with every figure and the machine."""
    machine = {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    print(json.dumps(rounded({"benchmark": benchmark, **figures, "machine": machine})))


def rounded(value: Any) -> Any:
    """The same value with its floats rounded to four significant digits."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value
