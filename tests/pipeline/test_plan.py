from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny import DATASET, Tiny, finished, write_bert, write_dataset

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


@pytest.fixture(scope="module")
def trained(all_four_stages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint folder of a run of all stages."""
    return Path(shutil.copytree(all_four_stages, tmp_path_factory.mktemp("trained") / "saved"))


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    """A copy of ``trained``, which a test may damage."""
    return Path(shutil.copytree(trained, tmp_path / "copied"))


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


def assert_kept_to(tiny: Tiny, folder: Path, **settings: Any) -> list[Step]:
    """The plan, after checking that the run did exactly what it says."""
    steps = plan_of(tiny, folder, **settings)
    this_run = run_of(tiny, folder, **settings)
    this_run.make(system(this_run.factory.config))
    assert [artifact.name for artifact in finished(this_run)] == [step.stage for step in steps]
    for artifact, step in zip(finished(this_run), steps, strict=True):
        assert artifact.reused == (step.action == "reused"), step
    return steps


def test_nothing_is_trained_or_written_by_planning(tiny: Tiny, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(factory, "find_trainer", lambda cls: 1 / 0)
    steps = plan_of(tiny, tmp_path / "new")
    reasons = ["not finished before", *["after a stage that runs"] * 4]
    assert steps == [Step(stage, "runs", why) for stage, why in zip(ALL, reasons, strict=True)]
    left = {path.name for path in (tmp_path / "new" / DATASET).iterdir()}
    assert left == {"cache"}


def test_what_is_finished_is_reused_and_named(tiny: Tiny, trained: Path) -> None:
    steps = plan_of(tiny, trained)
    assert [(step.stage, step.action) for step in steps] == [(stage, "reused") for stage in ALL]
    assert all((trained / DATASET / step.reason / "metrics.json").is_file() for step in steps)


@pytest.mark.parametrize(
    ("settings", "runs"),
    [
        # a setting of the first stage, on which all others depend
        ({"post_train_teacher_learning_rate": 0.5}, "rffff"),
        ({"temperature": 2.0, "post_train_student_temperature": 1.0}, "____r"),
        ({"finetune_teacher_max_steps": 2}, "__rrf"),
        ({"num_hidden_layers": 1}, "_r__f"),  # of the student: its first stage and its last
        # settings of no stage: where results are written, and what is only shown
        ({"result_file": "there.json", "save_steps": 1, "show_progress": False}, "_____"),
        ({"warmup_steps": 3, "post_train_teacher_warmup_steps": None}, "_rrrf"),
    ],
)
def test_a_changed_setting_trains_the_stages_that_it_matters_to(
    tiny: Tiny, copied: Path, settings, runs
) -> None:
    """Hours of training would start unseen, or a result of other settings be reused."""
    reasons = {"r": "not finished before", "f": "after a stage that runs"}
    for step, expected in zip(plan_of(tiny, copied, **settings), runs, strict=True):
        assert step.action == ("reused" if expected == "_" else "runs")
        assert expected == "_" or step.reason == reasons[expected]


def test_fewer_teachers_are_reused_and_more_are_not_called_changed(
    tiny: Tiny, copied: Path
) -> None:
    steps = assert_kept_to(tiny, copied, num_teachers=1)
    assert actions(steps) == ["reused", "runs", "reused", "runs"]
    shutil.rmtree(copied / DATASET / plan_of(tiny, copied)[3].reason)
    steps = plan_of(tiny, copied)
    assert actions(steps) == ["reused", "reused", "reused", "runs", "reused"]


def test_changed_data_are_trained_on(tiny: Tiny, copied: Path, tmp_path: Path) -> None:
    """A file that was converted again looks like the old one."""
    data = write_dataset(tmp_path / "other")
    file = data / DATASET / f"{DATASET}.train.inter"
    file.write_text("\n".join(file.read_text().splitlines()[:-1]) + "\n")
    steps = assert_kept_to(tiny._replace(data=data), copied)
    assert actions(steps) == ["reused", "reused", "runs", "runs", "runs"]


def test_another_language_model_is_trained(tiny: Tiny, copied: Path, tmp_path: Path) -> None:
    """Its folder may have been filled again under the same name."""
    plm = Path(shutil.copytree(tiny.plm, tmp_path / "plm"))
    named = {"plm": str(plm)}
    before = run_of(tiny, copied, **named)
    before.make(system(before.factory.config))
    write_bert(plm, seed=5)
    assert actions(plan_of(tiny, copied, **named)) == ["runs"] * 5


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


def test_a_damaged_stage_is_named(tiny: Tiny, copied: Path) -> None:
    folder = next((copied / DATASET).glob("post_train_student-*"))
    (folder / "model.safetensors").write_bytes(b"cut off")
    steps = assert_kept_to(tiny, copied)
    assert actions(steps) == ["reused", "runs", "reused", "reused", "reused"]
    assert steps[1].reason == f"{folder.name} is damaged"


def test_an_artifact_of_an_older_version_does_not_stop_the_plan(tiny: Tiny, copied: Path) -> None:
    """Its settings are incomplete, or can't be read at all."""
    first, second = sorted((copied / DATASET).glob("finetune_teacher-*"))
    (first / "settings.yaml").write_text("model_class: recbole_tinynews.model.paper.plmnr.PLMNR\n")
    (second / "settings.yaml").write_text(": no yaml [")
    steps = plan_of(tiny, copied, finetune_teacher_max_steps=1)
    assert steps[2].action == "runs"


def test_too_few_copies_are_refused_before_anything_runs(tiny: Tiny, copied: Path) -> None:
    with pytest.raises(ValueError, match=r"num_teachers=3 .*got 2"):
        plan_of(tiny, copied, num_teachers=3)


def test_a_run_first_logs_the_table_of_its_plan(tiny: Tiny, caplog) -> None:
    """Columns are aligned, and equal stages are numbered."""
    caplog.set_level(logging.INFO)
    run("TinyNewsRec", DATASET, config_dict=tiny.settings("TinyNewsRec"))
    messages = [record.getMessage() for record in caplog.records]
    table = next(place for place, text in enumerate(messages) if "Stages of TinyNewsRec" in text)
    began = [place for place, text in enumerate(messages) if "1 of 5: post_train_teacher" in text]
    assert table < began[0]
    assert messages[table].splitlines()[1:] == [
        "post_train_teacher  runs  (not finished before)",
        "post_train_student  runs  (after a stage that runs)",
        "finetune_teacher 1  runs  (after a stage that runs)",
        "finetune_teacher 2  runs  (after a stage that runs)",
        "TinyNewsRec         runs  (after a stage that runs)",
    ]


def test_equal_stages_are_numbered_and_others_are_not() -> None:
    steps = [Step("b", "reused", "x"), Step("a", "runs", "y"), Step("b", "resumes", "z")]
    assert plan_table(steps) == "b 1  reused   (x)\na    runs     (y)\nb 2  resumes  (z)"
