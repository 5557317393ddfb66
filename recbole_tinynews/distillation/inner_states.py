"""What a student and its teachers make of one batch, as far as they are compared in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from recbole_tinynews.distillation.states import States


class Seen(NamedTuple):
    """A batch as one model sees it.

    Shapes:
        scores: ``[batch, candidates]``, raw.
    """

    scores: Tensor
    states: States


def check_teachers(name: str, student: Seen, teachers: Sequence[Seen], count: int) -> None:
    """Guard the losses against rows that are others' and still have the same shape.

    Raises:
        ValueError: not as many teachers as projections, or a teacher that read other texts.
    """
    if len(teachers) != count:
        raise ValueError(
            f"{name} expects a batch labelled by {count} teachers, got {len(teachers)}. Build it "
            "with the number of teachers that label its batches."
        )
    for number, teacher in enumerate(teachers):
        if not np.array_equal(teacher.states.ids, student.states.ids):
            raise ValueError(
                f"{name} expects states of the same {len(student.states.ids)} texts in the same "
                f"order, got others from teacher {number}. Encode the news of one batch with both."
            )
