"""The steps of a run are known before its first training, and are those that it takes."""

from __future__ import annotations

import shutil
from pathlib import Path

from tiny import DATASET, Tiny, run_of

from recbole_tinynews.pipeline.plan import REUSED, plan, schedule
from recbole_tinynews.pipeline.stage import in_order
from recbole_tinynews.pipeline.systems import system
from recbole_tinynews.trainer.checkpoints import STATE

GIVEN = {"max_steps": None, "epochs": 2, "accumulation_steps": 2, "train_batch_size": 4}


def steps_of_run(tiny: Tiny, model: str, **given: object) -> dict[str, int]:
    """The planned steps of each stage, by tag."""
    config = tiny.config(model, **given)
    this_run = run_of(config)
    stages = in_order(system(config))
    steps = plan(this_run.recipes, stages)
    trained = [s for s, step in zip(stages, steps, strict=True) if step.action != REUSED]
    return {each.tag: each.left for each in schedule(this_run, stages, trained).values()}


def test_planned_steps_are_those_that_a_trainer_takes(tiny: Tiny) -> None:
    """The time left would be off by every factor that is forgotten."""
    given = {
        **GIVEN,
        "finetune_teacher_max_steps": None,
        "post_train_student_accumulation_steps": 1,
    }
    planned = steps_of_run(tiny, "TinyNewsRec", **given)
    world = tiny.world("TinyNewsRec", **given)
    trainer = world.trainer()
    trainer.fit(world.clicks())
    assert planned["TinyNewsRec"] == trainer.step == trainer.last_step
    assert planned["finetune_teacher_1"] == planned["finetune_teacher_2"] == trainer.step
    assert planned["post_train_student"] == 4  # its max_steps


def test_a_reused_stage_has_no_steps_and_equal_ones_after_it_have(
    tiny: Tiny, tmp_path: Path, all_four_stages: Path
) -> None:
    shutil.copytree(all_four_stages, tmp_path / "saved")
    for folder in (tmp_path / "saved" / DATASET).glob("finetune_teacher-*"):
        shutil.rmtree(folder)
    assert steps_of_run(tiny, "TinyNewsRec") == {
        **{"post_train_teacher": 0, "post_train_student": 0, "TinyNewsRec": 0},
        **{"finetune_teacher_1": 3, "finetune_teacher_2": 3},
    }


def test_what_trains_nothing_has_no_steps(tiny: Tiny) -> None:
    """An ensemble copies its teachers, and would count as long as they."""
    planned = steps_of_run(tiny, "EnsembleTeacher")
    assert planned["EnsembleTeacher"] == 0
    assert planned["finetune_teacher_1"] == 3


def test_a_resumed_stage_has_the_steps_that_are_left(tiny: Tiny) -> None:
    """Those that a stopped run has taken would be waited for again."""
    config = tiny.config("TinyNewsRec")
    this_run, first = run_of(config), in_order(system(config))[0]
    (this_run.recipes.of(first).folder / STATE / "step-3").mkdir(parents=True)
    assert steps_of_run(tiny, "TinyNewsRec")["post_train_teacher"] == 1
