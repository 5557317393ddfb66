from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny import DATASET, SETTINGS, STAGE_SETTINGS, Tiny

from recbole_tinynews.benchmark.benchmark import Benchmark

ROWS = [
    {"label": "PLM-NR_{layers}", "model": "PLMNR", "layers": ["large", "small"], "group": "plain"},
    {"label": "Tiny-NewsRec_{layers}", "model": "TinyNewsRec", "layers": ["large", "small"]},
]
FEW_STEPS = {**STAGE_SETTINGS, "max_steps": 1, "post_train_student_max_steps": 1}


@pytest.fixture
def write_suite(tmp_path: Path) -> Callable[..., str]:
    """A suite of few rows in a file; returns its path."""

    def write(**keys: Any) -> str:
        suite = {"layers": {"all": 3, "large": 2, "small": 1}, "rows": ROWS, "seeds": [1], **keys}
        path = tmp_path / "few.yaml"
        path.write_text(yaml.safe_dump(suite), encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def make_benchmark(tiny: Tiny, tmp_path: Path, write_suite) -> Callable[..., Benchmark]:
    """A benchmark on the tiny data set; results and stages lie in the test's folder."""

    def make(suite: str | None = None, cls: type = Benchmark, **keywords: Any) -> Any:
        settings = {
            **{
                k: v for k, v in SETTINGS.items() if k not in ("num_hidden_layers", "show_progress")
            },
            **FEW_STEPS,
            "plm": str(tiny.plm),
            "data_path": str(tiny.data),
            "checkpoint_dir": str(tmp_path / "saved"),
            **keywords.pop("settings", {}),
        }
        keywords.setdefault("output", tmp_path / "out")
        return cls(suite or write_suite(), DATASET, settings=settings, **keywords)

    return make
