from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny import DATASET, Tiny, finished

from recbole_tinynews.pipeline import factory
from recbole_tinynews.pipeline.plan import Step, plan, plan_table
from recbole_tinynews.pipeline.quick_start import run
from recbole_tinynews.pipeline.run import Run
from recbole_tinynews.pipeline.stage import in_order
from recbole_tinynews.pipeline.systems import system
from recbole_tinynews.trainer import NewsTrainer

pytestmark = pytest.mark.whole

STAGES = ["post_train_teacher", "post_train_student", "finetune_teacher", "finetune_teacher"]
ALL = [*STAGES, "TinyNewsRec"]


def run_of(tiny: Tiny, folder: Path, **settings: Any) -> Run:
    return tiny.run("TinyNewsRec", checkpoint_dir=str(folder), **settings)


def plan_of(tiny: Tiny, folder: Path, **settings: Any) -> list[Step]:
    this_run = run_of(tiny, folder, **settings)
    config = this_run.factory.config
    steps = plan(this_run, in_order(system(config)), config["fresh"])
    assert finished(this_run) == []  # the run itself has not begun
    return steps


def actions(steps: list[Step]) -> list[str]:
    return [step.action for step in steps]


def test_nothing_is_trained_or_written_by_planning(tiny: Tiny, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(factory, "find_trainer", lambda cls: 1 / 0)
    steps = plan_of(tiny, tmp_path / "new")
    reasons = ["not finished before", *["after a stage that runs"] * 4]
    assert steps == [Step(stage, "runs", why) for stage, why in zip(ALL, reasons, strict=True)]
    left = {path.name for path in (tmp_path / "new" / DATASET).iterdir()}
    assert left == {"cache"}


def test_fewer_teachers_are_reused_and_more_are_not_called_changed(tiny: Tiny, saved: Path) -> None:
    """A benchmark over the number of teachers would retrain each of them."""
    steps = plan_of(tiny, saved, num_teachers=1)
    assert actions(steps) == ["reused", "runs", "reused", "runs"]
    this_run = run_of(tiny, saved, num_teachers=1)
    this_run.make(system(this_run.factory.config))
    made = [(each.name, each.reused) for each in finished(this_run)]
    assert made == [(step.stage, step.action == "reused") for step in steps]
    shutil.rmtree(saved / DATASET / plan_of(tiny, saved)[3].reason)
    steps = plan_of(tiny, saved)
    assert actions(steps) == ["reused", "reused", "reused", "runs", "reused"]


def test_a_stopped_stage_is_planned_as_resumed(tiny: Tiny, tmp_path: Path, monkeypatch) -> None:
    """Otherwise it would look as if hours of training were lost."""

    class Killed(BaseException):
        pass

    def killed(self: NewsTrainer, *_: object) -> None:
        if self.step == 3 and type(self) is NewsTrainer:  # finetunes a teacher
            raise Killed

    monkeypatch.setattr(NewsTrainer, "after_step", killed)
    this_run = run_of(tiny, tmp_path, save_steps=2, post_train_student_max_steps=2)
    with pytest.raises(Killed):
        this_run.make(system(this_run.factory.config))
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    steps = plan_of(tiny, tmp_path, post_train_student_max_steps=2)
    assert actions(steps) == ["reused", "reused", "resumes", "runs", "runs"]
    assert steps[2].reason == "from step 2"
    assert plan_of(tiny, tmp_path, fresh=True) == [Step(stage, "runs", "fresh") for stage in ALL]


def test_an_artifact_of_an_older_version_does_not_stop_the_plan(tiny: Tiny, saved: Path) -> None:
    """Its settings are incomplete, or can't be read at all."""
    first, second = sorted((saved / DATASET).glob("finetune_teacher-*"))
    (first / "settings.yaml").write_text("model_class: recbole_tinynews.model.paper.plmnr.PLMNR\n")
    (second / "settings.yaml").write_text(": no yaml [")
    steps = plan_of(tiny, saved, finetune_teacher_max_steps=1)
    assert steps[2].action == "runs"


def test_a_run_first_logs_the_table_of_its_plan(tiny: Tiny, caplog) -> None:
    """A user could not stop it before hours of training that nobody meant."""
    caplog.set_level(logging.INFO)
    run("PLMNRDP", DATASET, config_dict=tiny.settings("PLMNRDP"))
    after_table = caplog.text.partition("Stages of PLMNRDP")[2]
    rows, _, _ = after_table.partition("1 of 2: post_train_teacher")
    assert "post_train_teacher  runs  (not finished before)\n" in rows
    assert "PLMNRDP             runs  (after a stage that runs)\n" in rows


def test_equal_stages_are_numbered_and_others_are_not() -> None:
    steps = [Step("b", "reused", "x"), Step("a", "runs", "y"), Step("b", "resumes", "z")]
    assert plan_table(steps) == "b 1  reused   (x)\na    runs     (y)\nb 2  resumes  (z)"
