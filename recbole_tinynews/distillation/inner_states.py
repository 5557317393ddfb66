"""Base class and checks of losses on inner states."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from recbole_tinynews.distillation.hidden import LayerPair
from recbole_tinynews.distillation.loss_terms import check_weights
from recbole_tinynews.distillation.outputs import Outputs
from recbole_tinynews.distillation.soft_label import SoftLabelLoss
from recbole_tinynews.encoder.states import States, Taps

TRAIN_MORE = (
    "Losses on layers that do not train have the weight 0. Raise distillation_loss_weight or "
    "target_loss_weight, or train more layers (finetune_layers)."
)


class InnerStateDistillation(nn.Module):
    """Base of losses that compare scores and inner states with those of teachers.

    ``pairs`` omit frozen student layers, whose terms are constant. Soft labels have the factor
    ``T ** 2`` (our definition). Losses that compare nothing have weight 0; ``learned`` weights
    (``None``: all) must not all be 0.
    """

    counted_by: ClassVar[Mapping[str, str]] = {
        "hidden": "tokens",
        "embedding": "tokens",
        "attention": "pairs",
        "news_vector": "texts",
    }

    def __init__(
        self,
        teachers: int,
        pairs: Sequence[LayerPair],
        temperature: float,
        weights: Any,
        learned: Any = None,
    ) -> None:
        super().__init__()
        self.teachers, self.pairs, self.weights = teachers, tuple(pairs), weights
        self.soft_label = SoftLabelLoss(temperature)
        check_weights(type(self).__name__, weights if learned is None else learned, TRAIN_MORE)
        self.student_taps = taps_of([pair.student for pair in pairs], weights)
        self.teacher_taps = taps_of([pair.teacher for pair in pairs], weights)

    def check(self, student: Outputs, teachers: Sequence[Outputs]) -> None:
        """Raise ``ValueError`` for another number of teachers, or rows of other texts."""
        name = type(self).__name__
        if len(teachers) != self.teachers:
            raise ValueError(
                f"{name} expects a batch labelled by {self.teachers} teachers, got "
                f"{len(teachers)}. Build it with the number of teachers that label its batches."
            )
        if student.states is None:
            return
        for number, teacher in enumerate(teachers):
            if not np.array_equal(states_of(teacher).ids, student.states.ids):
                raise ValueError(
                    f"{name} expects states of the same {len(student.states.ids)} texts in the "
                    f"same order, got others from teacher {number}. Encode the news of one batch "
                    "with both."
                )


def taps_of(layers: Sequence[int], weights: Any) -> Taps:
    """Inner states that losses of nonzero weight compare, at these layers."""
    present = {loss for loss, weight in weights._asdict().items() if weight}
    embedding = [0] if "embedding" in present else []
    hidden = layers if "hidden" in present else []
    attention = layers if "attention" in present else []
    return Taps(
        frozenset([*embedding, *hidden]), frozenset(attention), pooled="news_vector" in present
    )


def states_of(outputs: Outputs) -> States:
    """Inner states of outputs; ``ValueError`` if there are none."""
    if outputs.states is None:
        raise ValueError(
            "A loss on inner states expects outputs with states, got some without. Ask student "
            "and teachers for the student_taps and teacher_taps of the distillation."
        )
    return outputs.states


def compare_hidden(
    losses: Iterable[nn.Module], student: Outputs, teachers: Sequence[Outputs]
) -> list[Tensor]:
    """Hidden-state loss under each teacher."""
    own = states_of(student).hidden
    return [
        loss(own, states_of(teacher).hidden) for loss, teacher in zip(losses, teachers, strict=True)
    ]
