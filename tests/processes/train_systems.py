"""Train systems in float64, as often as the environment has processes.

    python train_systems.py CASES.json FOLDER

``CASES.json`` is a list of ``[name, model, settings]``. The stages of each are left in
``FOLDER/name``, and its result in ``FOLDER/name/result.json``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from recbole_tinynews.pipeline.factory import NewsFactory
from recbole_tinynews.pipeline.quick_start import run
from recbole_tinynews.pipeline.run import Run
from recbole_tinynews.processes.group import leave

models, teachers = NewsFactory.model, Run._teachers


def in_float64(self: NewsFactory, model_class: type, config: Any) -> Any:
    """A new model in the precision in which an order of sums does not show."""
    return models(self, model_class, config).double()


def teachers_in_float64(self: Run, recipe: Any, model: Any) -> Any:
    """Teachers that train together with their student are made beside the factory."""
    return teachers(self, recipe, model).double()


def train(cases: list[tuple[str, str, dict[str, Any]]], folder: Path) -> None:
    """Run the systems one after the other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NewsFactory, "model", in_float64)
        patch.setattr(Run, "_teachers", teachers_in_float64)
        for name, model, settings in cases:
            place = folder / name
            written = {
                "checkpoint_dir": str(place),
                "result_file": str(place / "result.json"),
                "eval_dump": str(place / "dump.csv"),
                "submission": str(place / "submission.zip"),
            }
            run(model, "tiny", config_dict={**settings, **written})


if __name__ == "__main__":
    train(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
    leave()
