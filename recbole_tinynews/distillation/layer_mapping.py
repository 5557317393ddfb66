"""Layer mapping: the teacher layer that each student layer imitates."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

MAPPINGS: dict[str, Callable[[int, int, int], int]] = {
    "uniform": lambda layer, student, teacher: math.ceil(layer * teacher / student),
    "last": lambda layer, student, teacher: teacher - student + layer,
}


class LayerPair(NamedTuple):
    """A student layer and its teacher layer, counted from 1; (0, 0): embedding outputs."""

    student: int
    teacher: int


def layer_pairs(student_layers: int, teacher_layers: int, mapping: str) -> list[LayerPair]:
    """A pair for each student layer; the last layers are always paired.

    ``uniform`` is TinyBERT's ``g(m) = m * N / d``, rounded up (our definition); ``last`` pairs the
    last layers one by one, as in older code of Tiny-NewsRec's authors.

    >>> [tuple(pair) for pair in layer_pairs(4, 12, "uniform")]
    [(1, 3), (2, 6), (3, 9), (4, 12)]
    >>> [tuple(pair) for pair in layer_pairs(2, 12, "last")]
    [(1, 11), (2, 12)]

    Raises:
        ValueError: the student has no layers, or more than the teacher, and ``last`` finds no pair.
    """
    if not student_layers:
        raise ValueError(
            "A loss on layers expects a student with layers, got num_hidden_layers=0. Set it to 1 "
            "or more, or choose AlignedNewsRec or TinyNewsRec."
        )
    if mapping == "last" and teacher_layers < student_layers:
        raise ValueError(
            f"layer_mapping=last expects a teacher with at least the student's {student_layers} "
            f"layers, got one with {teacher_layers}. Raise teacher_num_hidden_layers, lower "
            "num_hidden_layers, or set layer_mapping=uniform."
        )
    to_teacher = MAPPINGS[mapping]
    return [
        LayerPair(layer, to_teacher(layer, student_layers, teacher_layers))
        for layer in range(1, student_layers + 1)
    ]
