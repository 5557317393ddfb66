from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import DATASET, SETTINGS, STAGE_SETTINGS, Tiny

from recbole_tinynews.benchmark.jobs import (
    MEASURE,
    TRAIN,
    Job,
    Outcome,
    measure,
    next_job,
    run_jobs,
)
from recbole_tinynews.benchmark.results import SPEEDS


def make_job(action: str, system: str, seed: int = 1, **of_job: Any) -> Job:
    return Job(action, system, seed, "", "", {}, 1, Path(), Path(), Path())._replace(**of_job)


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
        run_jobs([job], 1, lambda _: None, lambda outcome, ended=ended: ended.append(outcome) or [])
        assert ended[0].error is None
        cells.append({**ended[0].cells, "seconds": None})
        assert files[2].is_file()
        assert not [each for each in place.iterdir() if each.suffix == ".partial"]
    assert cells[0].keys() == cells[1].keys()
    for name in ("impressions", "skipped", "parameters"):
        assert cells[0][name] == cells[1][name]
    assert f"torch {torch.__version__}, " in cells[1]["environment"]
    assert cells[1]["auc"] == pytest.approx(cells[0]["auc"], abs=0.02)


@pytest.mark.parametrize("model", ["PLMNR", "TinyNewsRec", "NewsBERT", "EnsembleTeacher"])
def test_a_measurement_trains_nothing(tiny: Tiny, tmp_path: Path, model: str) -> None:
    """Missing stages would be trained again, for hours that are shown as measuring."""
    saved = tmp_path / "saved"
    own = {"data_path": str(tiny.data), "plm": str(tiny.plm), "checkpoint_dir": str(saved)}
    settings = {**SETTINGS, **STAGE_SETTINGS, **own}
    found = measure(make_job(MEASURE, "A", model=model, dataset=DATASET, settings=settings))
    assert min(found[name] for name in SPEEDS) > 0
    assert not [*saved.rglob("*.safetensors")]


def test_seeds_that_share_no_stage_train_in_parallel() -> None:
    """Two systems of one seed wait for each other's stages; two seeds never do."""
    waiting = [make_job(TRAIN, "A", 1), make_job(TRAIN, "B", 1), make_job(TRAIN, "A", 2)]
    first = next_job(waiting, [], 2)
    assert first == waiting[0]
    assert next_job(waiting[1:], [first], 2) == waiting[2]
    assert next_job(waiting[1:2], [first], 2) == waiting[1]
    assert next_job(waiting[1:], [first], 1) is None
    # measuring speed runs alone
    speed = make_job("measure", "A", 1)
    assert next_job([waiting[1], speed], [], 1) == speed
    assert next_job([waiting[1], speed], [], 2) == waiting[1]
    assert next_job([speed], [waiting[1]], 2) is None
    assert next_job(waiting, [speed], 2) is None
    assert next_job([speed], [], 2) == speed
