"""What losses on inner states share: the states they need, and a check of their rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from recbole_tinynews.distillation.outputs import Outputs
from recbole_tinynews.encoder.states import States, Taps

# What the means of losses on inner states are taken over, by their names.
COUNTED_BY = {
    "hidden": "tokens",
    "embedding": "tokens",
    "attention": "pairs",
    "news_vector": "texts",
}
TRAIN_MORE = (
    "Losses on layers that do not train have the weight 0. Raise distillation_loss_weight or "
    "target_loss_weight, or train more layers (finetune_layers)."
)


def taps_of(layers: Sequence[int], weights: Any) -> Taps:
    """The inner states that the losses whose weight is not 0 compare.

    Args:
        layers: those whose outputs and attention are compared.
        weights: a NamedTuple; its losses ``embedding``, ``hidden``, ``attention`` and
            ``news_vector`` compare inner states.
    """
    present = {loss for loss, weight in weights._asdict().items() if weight}
    embedding = [0] if "embedding" in present else []
    hidden = layers if "hidden" in present else []
    attention = layers if "attention" in present else []
    return Taps(
        frozenset([*embedding, *hidden]), frozenset(attention), pooled="news_vector" in present
    )


def states_of(outputs: Outputs) -> States:
    """The inner states of outputs that must have some.

    Raises:
        ValueError: there are none.
    """
    if outputs.states is None:
        raise ValueError(
            "A loss on inner states expects outputs with states, got some without. Ask student "
            "and teachers for the student_taps and teacher_taps of the distillation."
        )
    return outputs.states


def check_teachers(name: str, student: Outputs, teachers: Sequence[Outputs], count: int) -> None:
    """Guard the losses against rows that belong to other texts and still have the same shape.

    Raises:
        ValueError: not as many teachers as projections, or a teacher that read other texts.
    """
    if len(teachers) != count:
        raise ValueError(
            f"{name} expects a batch labelled by {count} teachers, got {len(teachers)}. Build it "
            "with the number of teachers that label its batches."
        )
    if student.states is None:
        return
    for number, teacher in enumerate(teachers):
        if not np.array_equal(states_of(teacher).ids, student.states.ids):
            raise ValueError(
                f"{name} expects states of the same {len(student.states.ids)} texts in the same "
                f"order, got others from teacher {number}. Encode the news of one batch with both."
            )


def compare_hidden(
    losses: Iterable[nn.Module], student: Outputs, teachers: Sequence[Outputs]
) -> list[Tensor]:
    """The loss of the hidden states for each teacher, one module per teacher."""
    own = states_of(student).hidden
    return [
        loss(own, states_of(teacher).hidden) for loss, teacher in zip(losses, teachers, strict=True)
    ]
