from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import DATASET, Tiny

from recbole_tinynews.benchmark.runner import Outcome, run_jobs
from recbole_tinynews.benchmark.worker import TRAIN, Job


@pytest.mark.whole
@pytest.mark.long
def test_a_training_in_two_processes_fills_the_cells_of_one(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A benchmark's process starts those of a training, which give their result by a file."""
    monkeypatch.chdir(tmp_path)
    cells = []
    for processes in (1, 2):
        place = tmp_path / str(processes)
        settings = {**tiny.settings("PLMNR", max_steps=3), "checkpoint_dir": str(place / "saved")}
        files = (place / "answer.json", place / "log", place / "impressions.npz")
        place.mkdir()
        job = Job(TRAIN, "PLM-NR", 1, "PLMNR", DATASET, settings, 1, *files, processes)
        ended: list[Outcome] = []
        run_jobs([job], 1, lambda outcome, ended=ended: ended.append(outcome) or [], lambda _: None)
        assert ended[0].error is None
        cells.append({**ended[0].cells, "seconds": None})
        assert files[2].is_file()
        assert not [each for each in place.iterdir() if each.suffix == ".partial"]
    assert cells[0].keys() == cells[1].keys()
    for name in ("impressions", "skipped", "parameters"):
        assert cells[0][name] == cells[1][name]
    assert f"torch {torch.__version__}, " in cells[1]["environment"]
    assert cells[1]["auc"] == pytest.approx(cells[0]["auc"], abs=0.02)
