from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny import DATASET, Tiny, finished, write_bert, write_dataset

from recbole_tinynews.model.plmnr import PLMNR
from recbole_tinynews.pipeline import factory
from recbole_tinynews.pipeline.plan import Step, nearest_differences, plan, plan_table
from recbole_tinynews.pipeline.run import Run
from recbole_tinynews.pipeline.stage import Stage, in_order
from recbole_tinynews.pipeline.systems import system
from recbole_tinynews.quick_start import run
from recbole_tinynews.trainer import NewsTrainer

STAGES = ["post_train_teacher", "post_train_student", "finetune_teacher", "finetune_teacher"]
ALL = [*STAGES, "TinyNewsRec"]


@pytest.fixture(scope="module")
def trained(all_four_stages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint folder of a whole run."""
    return Path(shutil.copytree(all_four_stages, tmp_path_factory.mktemp("trained") / "saved"))


@pytest.fixture
def at_hand(trained: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(trained, tmp_path / "at_hand"))


def run_of(tiny: Tiny, folder: Path, **settings: Any) -> Run:
    return tiny.run("TinyNewsRec", checkpoint_dir=str(folder), **settings)


def plan_of(tiny: Tiny, folder: Path, **settings: Any) -> list[Step]:
    this_run = run_of(tiny, folder, **settings)
    config = this_run.factory.config
    steps = plan(this_run.recipes, in_order(system(config)), config["fresh"])
    assert finished(this_run) == []  # the run itself has not begun
    return steps


def actions(steps: list[Step]) -> list[str]:
    return [step.action for step in steps]


def assert_kept_to(tiny: Tiny, folder: Path, **settings: Any) -> list[Step]:
    """What is planned, after the run has done just that."""
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
        (  # a setting of the first stage: all others stand on it
            {"post_train_teacher_learning_rate": 0.5},
            ["learning_rate: 0.5, there: 0.01", *["after a stage that runs"] * 4],
        ),
        (  # of the last stage alone
            {"temperature": 2.0, "post_train_student_temperature": 1.0},
            [None, None, None, None, "temperature: 2.0, there: 1.0"],
        ),
        (  # of the teachers
            {"finetune_teacher_max_steps": 2},
            [None, None, *["max_steps: 2, there: 3"] * 2, "after a stage that runs"],
        ),
        (  # of the student: its first stage and itself
            {"num_hidden_layers": 1},
            [
                None,
                "num_hidden_layers: 1, there: 2",
                None,
                None,
                "num_hidden_layers: 1, there: 2; after a stage that runs",
            ],
        ),
        (  # of no stage: where results go
            {"result_file": "there.json"},
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
    tiny: Tiny, at_hand: Path, settings, expected
) -> None:
    """Hours begin to run, and the user does not know which setting was meant to stay."""
    steps = assert_kept_to(tiny, at_hand, **settings)
    for step, reason in zip(steps, expected, strict=True):
        assert step.action == ("reused" if reason is None else "runs")
        assert reason is None or step.reason == reason


def test_fewer_teachers_reuse_and_more_are_no_changed_ones(tiny: Tiny, at_hand: Path) -> None:
    steps = assert_kept_to(tiny, at_hand, num_teachers=1)
    assert actions(steps) == ["reused", "runs", "reused", "runs"]
    assert [step.reason for step in steps if step.action == "runs"] == [
        "num_teachers: 1, there: 2",
        "num_teachers: 1, there: 2; after a stage that runs",
    ]
    shutil.rmtree(at_hand / DATASET / plan_of(tiny, at_hand)[3].reason)
    steps = plan_of(tiny, at_hand)
    assert actions(steps) == ["reused", "reused", "reused", "runs", "reused"]
    assert steps[3].reason == "no earlier one"  # not: another seed than the first teacher's


def test_changed_data_are_named(tiny: Tiny, at_hand: Path, tmp_path: Path) -> None:
    """A file that was converted anew looks like the old one."""
    data = write_dataset(tmp_path / "other")
    file = data / DATASET / f"{DATASET}.train.inter"
    file.write_text("\n".join(file.read_text().splitlines()[:-1]) + "\n")
    steps = assert_kept_to(tiny._replace(data=data), at_hand)
    assert [step.reason for step in steps] == [
        steps[0].reason,
        steps[1].reason,
        "the data differ",
        "the data differ",
        "the data differ; after a stage that runs",
    ]
    assert actions(steps) == ["reused", "reused", "runs", "runs", "runs"]


def test_longer_titles_are_no_changed_data(tiny: Tiny, at_hand: Path) -> None:
    """Post-training knows its articles as token ids, which a length changes too."""
    steps = plan_of(tiny, at_hand, post_train_teacher_max_title_length=9)
    assert steps[0].reason == "max_title_length: 9, there: 12"


def test_another_model_under_one_name_is_named_once(tiny: Tiny, trained: Path) -> None:
    """Without Stage II a PLM-NR is trained, which has no use for ten settings of the student."""
    last = plan_of(tiny, trained, stage_two=False)[-1]
    assert last.reason == "model_class: PLMNR, there: TinyNewsRec; after other stages"


def test_another_language_model_is_named(tiny: Tiny, at_hand: Path, tmp_path: Path) -> None:
    """Its folder may have been filled anew under the same name."""
    plm = Path(shutil.copytree(tiny.plm, tmp_path / "plm"))
    named = {"plm": str(plm)}
    before = run_of(tiny, at_hand, **named)
    before.make(system(before.factory.config))
    write_bert(plm, seed=5)
    assert plan_of(tiny, at_hand, **named)[0].reason == "the language model differs"
    assert plan_of(tiny, at_hand, plm=str(write_bert(tmp_path / "other", seed=6)))[0].reason in {
        f"plm: {tmp_path / 'other'}, there: {plm}",
        f"plm: {tmp_path / 'other'}, there: {tiny.plm}",
    }


def test_many_differences_are_counted(tiny: Tiny, at_hand: Path) -> None:
    changed = {"seed": 1, "news_dim": 8, "query_dim": 4, "finetune_layers": 2}
    settings = {f"post_train_teacher_{name}": value for name, value in changed.items()}
    first = plan_of(tiny, at_hand, **settings)[0]
    assert first.reason.count("there: ") == 3
    assert first.reason.endswith("; and 1 more")


def test_the_nearest_of_several_is_compared_with(tiny: Tiny, at_hand: Path) -> None:
    """Any other would name settings that nobody has just changed."""
    before = {"news_dim": 8, "query_dim": 4, "epochs": 2, "max_steps": None}
    this_run = run_of(tiny, at_hand, **before)
    this_run.make(Stage("TinyNewsRec", PLMNR))
    again = run_of(tiny, at_hand, **{**before, "epochs": 1})
    recipe = again.recipes.of(Stage("TinyNewsRec", PLMNR))
    assert nearest_differences(recipe) == ["epochs: 1, there: 2"]


def test_a_stopped_stage_goes_on(tiny: Tiny, tmp_path: Path, monkeypatch) -> None:
    """It would look as if the hours before were lost."""

    class Killed(BaseException):
        pass

    def killed(self: NewsTrainer) -> None:
        if self.step == 3:
            raise Killed

    monkeypatch.setattr(NewsTrainer, "_after_step", killed)
    this_run = run_of(tiny, tmp_path, save_steps=2, post_train_student_max_steps=2)
    with pytest.raises(Killed):
        this_run.make(system(this_run.factory.config))
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    steps = plan_of(tiny, tmp_path, post_train_student_max_steps=2)
    assert actions(steps) == ["reused", "reused", "resumes", "runs", "runs"]
    assert steps[2].reason == "from step 2"
    assert plan_of(tiny, tmp_path, fresh=True) == [Step(stage, "runs", "fresh") for stage in ALL]


def test_a_damaged_stage_is_named(tiny: Tiny, at_hand: Path) -> None:
    folder = next((at_hand / DATASET).glob("post_train_student-*"))
    (folder / "model.safetensors").write_bytes(b"cut off")
    steps = assert_kept_to(tiny, at_hand)
    assert actions(steps) == ["reused", "runs", "reused", "reused", "reused"]
    assert steps[1].reason == f"{folder.name} is damaged"


def test_an_older_artifact_is_no_obstacle(tiny: Tiny, at_hand: Path) -> None:
    """Its settings tell less, or are not to be read at all."""
    first, second = sorted((at_hand / DATASET).glob("finetune_teacher-*"))
    (first / "settings.yaml").write_text("model_class: recbole_tinynews.model.plmnr.PLMNR\n")
    (second / "settings.yaml").write_text(": no yaml [")
    steps = plan_of(tiny, at_hand, finetune_teacher_max_steps=1)
    assert steps[2].action == "runs"
    assert "more" in steps[2].reason


def test_too_few_copies_are_refused_before_anything_runs(tiny: Tiny, at_hand: Path) -> None:
    with pytest.raises(ValueError, match=r"num_teachers=3 .*got 2"):
        plan_of(tiny, at_hand, num_teachers=3)


def test_the_table_is_the_first_thing_that_a_run_says(tiny: Tiny, caplog) -> None:
    """Columns are aligned, and equal stages are told apart."""
    caplog.set_level(logging.INFO)
    run("TinyNewsRec", DATASET, config_dict=tiny.settings("TinyNewsRec"))
    messages = [record.getMessage() for record in caplog.records]
    table = next(place for place, text in enumerate(messages) if "Stages of TinyNewsRec" in text)
    began = [place for place, text in enumerate(messages) if "Stage post_train_teacher" in text]
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
