from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny import DATASET, Tiny, finished, write_bert, write_dataset

from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.pipeline import factory
from recbole_tinynews.pipeline.plan import Step, nearest_differences, plan, plan_table
from recbole_tinynews.pipeline.quick_start import run
from recbole_tinynews.pipeline.run import Run
from recbole_tinynews.pipeline.stage import Stage, in_order
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
    assert steps == [Step(stage, "runs", "no earlier one") for stage in ALL]
    left = {path.name for path in (tmp_path / "new" / DATASET).iterdir()}
    assert left == {"cache"}


def test_what_is_finished_is_reused_and_named(tiny: Tiny, trained: Path) -> None:
    steps = plan_of(tiny, trained)
    assert [(step.stage, step.action) for step in steps] == [(stage, "reused") for stage in ALL]
    assert all((trained / DATASET / step.reason / "metrics.json").is_file() for step in steps)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (  # a setting of the first stage, on which all others depend
            {"post_train_teacher_learning_rate": 0.5},
            ["learning_rate: 0.5, there: 0.01", *["after a stage that runs"] * 4],
        ),
        (  # a setting of the last stage alone
            {"temperature": 2.0, "post_train_student_temperature": 1.0},
            [None, None, None, None, "temperature: 2.0, there: 1.0"],
        ),
        (  # a setting of the teachers
            {"finetune_teacher_max_steps": 2},
            [None, None, *["max_steps: 2, there: 3"] * 2, "after a stage that runs"],
        ),
        (  # a setting of the student: its first stage and its last
            {"num_hidden_layers": 1},
            [
                None,
                "num_hidden_layers: 1, there: 2",
                None,
                None,
                "num_hidden_layers: 1, there: 2; after a stage that runs",
            ],
        ),
        (  # settings of no stage: where results are written, and what is only shown
            {"result_file": "there.json", "save_steps": 1, "show_progress": False},
            [None] * 5,
        ),
        (
            {"warmup_steps": 3, "post_train_teacher_warmup_steps": None},
            [
                None,
                "warmup_steps: 3, there: ~",
                *["warmup_steps: 3, there: ~"] * 2,
                "warmup_steps: 3, there: ~; after a stage that runs",
            ],
        ),
    ],
)
def test_a_changed_setting_is_named_where_it_matters(
    tiny: Tiny, copied: Path, settings, expected
) -> None:
    """Hours of training would start, and the user would not know which setting caused it."""
    for step, reason in zip(plan_of(tiny, copied, **settings), expected, strict=True):
        assert step.action == ("reused" if reason is None else "runs")
        assert reason is None or step.reason == reason


def test_fewer_teachers_are_reused_and_more_are_not_called_changed(
    tiny: Tiny, copied: Path
) -> None:
    steps = assert_kept_to(tiny, copied, num_teachers=1)
    assert actions(steps) == ["reused", "runs", "reused", "runs"]
    assert [step.reason for step in steps if step.action == "runs"] == [
        "num_teachers: 1, there: 2",
        "num_teachers: 1, there: 2; after a stage that runs",
    ]
    shutil.rmtree(copied / DATASET / plan_of(tiny, copied)[3].reason)
    steps = plan_of(tiny, copied)
    assert actions(steps) == ["reused", "reused", "reused", "runs", "reused"]
    assert steps[3].reason == "no earlier one"  # not: another seed than the first teacher's


def test_changed_data_are_named(tiny: Tiny, copied: Path, tmp_path: Path) -> None:
    """A file that was converted again looks like the old one."""
    data = write_dataset(tmp_path / "other")
    file = data / DATASET / f"{DATASET}.train.inter"
    file.write_text("\n".join(file.read_text().splitlines()[:-1]) + "\n")
    steps = assert_kept_to(tiny._replace(data=data), copied)
    assert [step.reason for step in steps] == [
        steps[0].reason,
        steps[1].reason,
        "other data",
        "other data",
        "other data; after a stage that runs",
    ]
    assert actions(steps) == ["reused", "reused", "runs", "runs", "runs"]


def test_longer_titles_are_not_called_changed_data(tiny: Tiny, copied: Path) -> None:
    """Post-training's articles are identified by their tokens, which a length changes too."""
    steps = plan_of(tiny, copied, post_train_teacher_max_title_length=9)
    assert steps[0].reason == "max_title_length: 9, there: 12"


def test_another_model_under_one_name_is_named_first(tiny: Tiny, trained: Path) -> None:
    """Without Stage II a PLM-NR is trained: its ten fewer settings are not worth a line each."""
    last = plan_of(tiny, trained, stage_two=False)[-1]
    assert last.reason.startswith("model_class: recbole_tinynews.model.paper.plmnr.PLMNR, there: ")


def test_another_language_model_is_named(tiny: Tiny, copied: Path, tmp_path: Path) -> None:
    """Its folder may have been filled again under the same name."""
    plm = Path(shutil.copytree(tiny.plm, tmp_path / "plm"))
    named = {"plm": str(plm)}
    before = run_of(tiny, copied, **named)
    before.make(system(before.factory.config))
    write_bert(plm, seed=5)
    assert plan_of(tiny, copied, **named)[0].reason == "other language model"
    assert plan_of(tiny, copied, plm=str(write_bert(tmp_path / "other", seed=6)))[0].reason in {
        f"plm: {tmp_path / 'other'}, there: {plm}",
        f"plm: {tmp_path / 'other'}, there: {tiny.plm}",
    }


def test_many_differences_are_counted(tiny: Tiny, copied: Path) -> None:
    changed = {"seed": 1, "news_dim": 8, "query_dim": 4, "finetune_layers": 2}
    settings = {f"post_train_teacher_{name}": value for name, value in changed.items()}
    first = plan_of(tiny, copied, **settings)[0]
    assert first.reason.count("there: ") == 3
    assert first.reason.endswith("; and 1 more")


def test_the_most_similar_of_several_artifacts_is_compared_with(tiny: Tiny, copied: Path) -> None:
    """Any other would differ in settings that the user has not just changed."""
    before = {"news_dim": 8, "query_dim": 4, "epochs": 2, "max_steps": None}
    this_run = run_of(tiny, copied, **before)
    this_run.make(Stage("TinyNewsRec", PLMNR))
    again = run_of(tiny, copied, **{**before, "epochs": 1})
    recipe = again.recipe(Stage("TinyNewsRec", PLMNR))
    assert nearest_differences(recipe) == ["epochs: 1, there: 2"]


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
    assert "more" in steps[2].reason


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
        "post_train_teacher  runs  (no earlier one)",
        "post_train_student  runs  (no earlier one)",
        "finetune_teacher 1  runs  (no earlier one)",
        "finetune_teacher 2  runs  (no earlier one)",
        "TinyNewsRec         runs  (no earlier one)",
    ]


def test_equal_stages_are_numbered_and_others_are_not() -> None:
    steps = [Step("b", "reused", "x"), Step("a", "runs", "y"), Step("b", "resumes", "z")]
    assert plan_table(steps) == "b 1  reused   (x)\na    runs     (y)\nb 2  resumes  (z)"
