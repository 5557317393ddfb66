from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import DATASET, Tiny

from recbole_tinynews.benchmark.worker import TRAIN, Job, train


@pytest.mark.whole
def test_a_training_in_two_processes_fills_the_cells_of_one(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result comes back through a file: a lost one would look like a failed training."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    threads = torch.get_num_threads()
    cells = []
    for processes in (1, 2):
        place = tmp_path / str(processes)
        settings = {**tiny.settings("PLMNR", max_steps=3), "checkpoint_dir": str(place / "saved")}
        files = (place / "answer.json", place / "log", place / "impressions.npz")
        place.mkdir()
        job = Job(TRAIN, "PLM-NR", 1, "PLMNR", DATASET, settings, 1, *files, processes)
        cells.append({**train(job), "seconds": None})
        assert files[2].is_file()
        assert not [each for each in place.iterdir() if each.suffix == ".partial"]
    torch.set_num_threads(threads)
    assert cells[0].keys() == cells[1].keys()
    for name in ("impressions", "skipped", "parameters"):
        assert cells[0][name] == cells[1][name]
    assert f"torch {torch.__version__}, " in cells[1]["environment"]
    assert cells[1]["auc"] == pytest.approx(cells[0]["auc"], abs=0.02)
