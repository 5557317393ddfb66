"""The settings of a system whose student or teachers are other recommenders than its own.

``student`` and ``teacher`` name them. Each has the defaults of its own yaml.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from recbole_tinynews.settings.names import split_stage

PARTS = ("student", "teacher")
USUAL = "PLMNR"  # what both are where nothing else is named

# of the news encoder that post-training hands to the teachers' class
_SHAPE = ("news_dim", "query_dim", "news_pooling", "head_init")
OF_TEACHERS = "_teacher"  # ends the names of their stages
FINETUNED = "finetune_teacher"  # the stage whose class the setting names


class StageDefaults(NamedTuple):
    """Defaults that hold for certain stages in the place of the student's.

    Attributes:
        ending: of the names of the stages.
        values: by plain name.
    """

    ending: str
    values: dict[str, Any]


def defaults_of_teachers(
    of_student: Mapping[str, Any],
    usual: Mapping[str, Any],
    of_teacher: Mapping[str, Any],
    given: Collection[str],
    stages: Collection[str],
) -> list[StageDefaults]:
    """What the stages of teachers have where the student's yaml, or their own, says otherwise.

    Args:
        of_student: the defaults of the system with its student's yaml.
        usual: without it.
        of_teacher: what the yaml of the teachers' class sets.
        given: settings that data set or user set, which hold for every stage.
        stages: names of all stages.
    """

    def open_to(name: str) -> bool:
        return name not in given and split_stage(name, stages)[0] is None

    kept = {n: v for n, v in usual.items() if open_to(n) and of_student.get(n) != v}
    own = {n: v for n, v in of_teacher.items() if open_to(n)}
    shape = {n: v for n, v in own.items() if n in _SHAPE}
    return [StageDefaults(OF_TEACHERS, kept | shape), StageDefaults(FINETUNED, own)]


def for_stage(stage: str, defaults: Collection[StageDefaults]) -> dict[str, Any]:
    """Those of the defaults that hold for a stage, later over earlier.

    >>> kept = StageDefaults("_teacher", {"news_encoder": "plm"})
    >>> for_stage("post_train_teacher", [kept]), for_stage("TinyNewsRec", [kept])
    ({'news_encoder': 'plm'}, {})
    """
    return {
        n: v for each in defaults if stage.endswith(each.ending) for n, v in each.values.items()
    }
