from __future__ import annotations

from pathlib import Path
from typing import Any

from recbole_tinynews.benchmark import jobs
from recbole_tinynews.benchmark.jobs import Job, run_jobs


def make_job(system: str, seed: int = 1, **of_job: Any) -> Job:
    return Job(system, seed, "", "", {}, 1, True, Path(), Path(), Path())._replace(**of_job)


def test_seeds_that_share_no_stage_train_in_parallel(tmp_path: Path, monkeypatch) -> None:
    """Two systems of one seed wait for each other's stages; two seeds never do."""
    monkeypatch.setattr(jobs, "START_METHOD", "fork")
    monkeypatch.setattr(jobs, "train", lambda job: {})
    order = ["A1", "B1", "A2"]
    waiting = [
        make_job(name, int(name[1]), answer=tmp_path / name, log=tmp_path / "log") for name in order
    ]
    for side_by_side, first in ((1, order), (2, ["A1", "A2"]), (3, ["A1", "A2", "B1"])):
        started: list[str] = []
        run_jobs(waiting, side_by_side, lambda job: started.append(job.system), lambda _: None)  # noqa: B023
        assert started[: len(first)] == first
        assert sorted(started) == sorted(order)
