"""What a student and its teachers make of one batch, as far as they are compared in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn

from recbole_tinynews.distillation.states import States, Taps

TRAIN_MORE = (
    "What layers that do not train decide has the weight 0. Raise distillation_loss_weight or "
    "target_loss_weight, or train more layers (finetune_layers)."
)


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


def taps_of(layers: Sequence[int], weights: Any) -> Taps:
    """What the losses ``embedding``, ``hidden`` and ``attention`` look at, those that there are."""
    there = {loss for loss, weight in weights._asdict().items() if weight}
    embedding = [0] if "embedding" in there else []
    hidden = layers if "hidden" in there else []
    attention = layers if "attention" in there else []
    return Taps(frozenset([*embedding, *hidden]), frozenset(attention))


def compare_hidden(
    losses: Iterable[nn.Module], student: Seen, teachers: Sequence[Seen]
) -> list[Tensor]:
    """The loss of each teacher's hidden states, by a module of its own."""
    return [
        loss(student.states.hidden, teacher.states.hidden)
        for loss, teacher in zip(losses, teachers, strict=True)
    ]
