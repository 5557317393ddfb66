"""Stages as values: order, subgraphs, and fingerprints that are known before anything runs."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from tiny import STAGE_SETTINGS, Tiny

from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.pipeline.config import NewsConfig
from recbole_tinynews.pipeline.fingerprints import settings_that_matter
from recbole_tinynews.pipeline.stage import Copy, Stage, Start, in_order, last_copies, up_to
from recbole_tinynews.pipeline.systems import SYSTEMS, system


def put(model: Any, *weights: Any) -> None:
    """Passes nothing on to the next stage."""


def put_otherwise(model: Any, *weights: Any) -> None:
    """Another way to hand nothing on."""


FIRST = Stage("first", PLMNR)
TEACHERS = tuple(
    Stage("teacher", PLMNR, start=Start(put, (copy,)), number=copy.back)
    for copy in last_copies(FIRST, 2)
)
STUDENT = Stage("student", PLMNR, start=Start(put, (FIRST,)), teachers=TEACHERS)


def test_a_stage_comes_once_and_after_all_that_it_depends_on() -> None:
    """A teacher that two students share would be trained twice, or too late."""
    assert in_order(STUDENT) == [FIRST, *TEACHERS, STUDENT]
    equal = Stage("student", PLMNR, start=Start(put, (Stage("first", PLMNR),)), teachers=TEACHERS)
    assert in_order(STUDENT, equal) == [FIRST, *TEACHERS, STUDENT]
    assert in_order(Stage("last", PLMNR, after=(TEACHERS[1],))) == [
        *(FIRST, TEACHERS[1]),
        Stage("last", PLMNR, after=(TEACHERS[1],)),
    ]


def test_a_part_of_a_system_is_what_the_named_stages_need() -> None:
    """A user who asks for the teachers alone would pay for training a student."""
    assert up_to(STUDENT, "teacher") == [FIRST, *TEACHERS]
    assert up_to(STUDENT, "first") == [FIRST]
    assert up_to(STUDENT, None) == in_order(STUDENT)
    with pytest.raises(ValueError, match="first, teacher, student, got teachers"):
        up_to(STUDENT, "teachers")


def test_a_copy_is_named_by_its_place_from_the_end() -> None:
    """Named by its step, it would be unknown until the training has reached it."""
    assert last_copies(FIRST, 2) == (Copy(FIRST, 0), Copy(FIRST, 1))
    assert STUDENT.needs == (FIRST, *TEACHERS)


@pytest.mark.parametrize("model", SYSTEMS)
def test_fingerprints_of_all_stages_are_known_before_the_first_runs(tiny: Tiny, model: str) -> None:
    """Stages with equal fingerprints would share a folder; a changing one would have two."""
    run = tiny.run(model, **STAGE_SETTINGS)
    stages = in_order(system(run.factory.config))
    marks = [run.recipe(stage).fingerprint for stage in stages]
    assert len(set(marks)) == len(stages) > 1
    again = tiny.run(model, **STAGE_SETTINGS)
    assert [again.recipe(stage).fingerprint for stage in stages] == marks


VARIANTS = [
    STUDENT,
    STUDENT._replace(teachers=TEACHERS[:1]),
    STUDENT._replace(teachers=TEACHERS[::-1]),
    STUDENT._replace(teachers=(Copy(FIRST, 0), TEACHERS[1])),
    STUDENT._replace(teachers=(Copy(FIRST, 1), TEACHERS[1])),
    STUDENT._replace(start=None),
    STUDENT._replace(start=Start(put, (Copy(FIRST, 1),))),
    STUDENT._replace(start=Start(put_otherwise, (FIRST,))),
    STUDENT._replace(after=(Stage("other", PLMNR),)),
    STUDENT._replace(number=1),
    STUDENT._replace(name="other"),
]


def test_whatever_a_stage_depends_on_decides_where_its_result_lies(tiny: Tiny) -> None:
    """It would be taken for the result of other teachers, or of another start."""
    run = tiny.run("PLMNR")
    folders = [run.recipe(variant).folder for variant in VARIANTS]
    assert len(set(folders)) == len(VARIANTS)


@pytest.mark.parametrize("put", [lambda model: None, functools.partial(put, None)])
def test_a_hand_over_without_a_name_is_refused(tiny: Tiny, put: Any) -> None:
    """Two of them would share a fingerprint, and so the result of one."""
    with pytest.raises(ValueError, match="Start expects a named function"):
        tiny.run("PLMNR").recipe(STUDENT._replace(start=Start(put, (FIRST,))))


def test_the_student_of_a_boosted_student_is_an_aligned_newsrec() -> None:
    """Pooled or trained otherwise, it would not be the student that it is compared with."""
    shared = {"num_teachers": 1, "num_hidden_layers": 2, "finetune_teacher_popularity": "none"}
    of_stages = []
    for model in ("AlignedNewsRec", "BoostedStudent"):
        config = NewsConfig(model, "mind-mini", config_dict=shared)
        stages = in_order(system(config))[:3]
        own = [config if s.name == model else config.for_stage(s.name) for s in stages]
        of_stages.append([*map(settings_that_matter, own, stages)])
    for aligned, boosted in zip(*of_stages, strict=True):
        differ = {n for n in {*aligned, *boosted} if aligned.get(n) != boosted.get(n)}
        assert differ - {"boosting_rounds", "boosting_rate"} == set()
