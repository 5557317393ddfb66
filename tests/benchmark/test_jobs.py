from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny import DATASET, SETTINGS, STAGE_SETTINGS, Tiny

from recbole_tinynews.benchmark import jobs
from recbole_tinynews.benchmark.jobs import ACTIONS, MEASURE, TRAIN, Job, measure, run_jobs


def make_job(action: str, system: str, seed: int = 1, **of_job: Any) -> Job:
    return Job(action, system, seed, "", "", {}, 1, Path(), Path(), Path())._replace(**of_job)


@pytest.mark.parametrize("model", ["PLMNR", "TinyNewsRec", "NewsBERT", "EnsembleTeacher"])
def test_a_measurement_trains_nothing(tiny: Tiny, tmp_path: Path, model: str) -> None:
    """Missing stages would be trained again, for hours that are shown as measuring."""
    saved = tmp_path / "saved"
    own = {"data_path": str(tiny.data), "plm": str(tiny.plm), "checkpoint_dir": str(saved)}
    settings = {**SETTINGS, **STAGE_SETTINGS, **own}
    found = measure(make_job(MEASURE, "A", model=model, dataset=DATASET, settings=settings))
    assert found["news_per_second"] > 0
    assert not [*saved.rglob("*.safetensors")]


def test_seeds_that_share_no_stage_train_in_parallel(tmp_path: Path, monkeypatch) -> None:
    """Two systems of one seed wait for each other's stages; two seeds never do."""
    monkeypatch.setattr(jobs, "START_METHOD", "fork")
    monkeypatch.setitem(ACTIONS, TRAIN, lambda job: {})
    order = ["A1", "B1", "A2"]
    waiting = [
        make_job(TRAIN, name, int(name[1]), answer=tmp_path / name, log=tmp_path / "log")
        for name in order
    ]
    for side_by_side, first in ((1, order), (2, ["A1", "A2"]), (3, ["A1", "A2", "B1"])):
        started: list[str] = []
        run_jobs(waiting, side_by_side, lambda job: started.append(job.system), lambda _: None)  # noqa: B023
        assert started[: len(first)] == first
        assert sorted(started) == sorted(order)
