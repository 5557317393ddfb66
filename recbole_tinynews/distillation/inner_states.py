"""Base class and checks of losses on inner states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from torch import Tensor, nn

from recbole_tinynews.distillation.hidden import (
    HiddenStateLoss,
    LayerPair,
    ProjectedHiddenStateLoss,
)
from recbole_tinynews.distillation.loss_terms import Distillation, Terms, mean_of
from recbole_tinynews.distillation.outputs import Outputs
from recbole_tinynews.encoder.states import States, Taps


class Compared(NamedTuple):
    """Layers to compare (frozen ones of the student are constant, so left out), and widths."""

    pairs: Sequence[LayerPair]
    embeddings_train: bool
    student_dim: int
    teacher_dim: int


class InnerStateDistillation(Distillation):
    """Base of losses that compare scores and inner states with those of teachers.

    Soft labels have the factor ``T ** 2`` (our definition). Losses that compare nothing have weight
    0. By default each loss is the mean over the teachers.
    """

    remedy = (
        "Losses on layers that do not train have the weight 0. Raise distillation_loss_weight or "
        "target_loss_weight, or train more layers (finetune_layers)."
    )
    counted_by: ClassVar[Mapping[str, str]] = {
        "hidden": "tokens",
        "embedding": "tokens",
        "attention": "pairs",
        "news_vector": "texts",
    }
    hidden_loss: ClassVar[type[HiddenStateLoss | ProjectedHiddenStateLoss]] = HiddenStateLoss

    def __init__(self, teachers: int, compared: Compared, temperature: float, weights: Any) -> None:
        constant = set() if compared.pairs else {"hidden", "attention"}
        if not compared.embeddings_train:
            constant.add("embedding")
        weights = weights._replace(**dict.fromkeys(constant.intersection(weights._fields), 0.0))
        super().__init__(temperature, weights)
        self.teachers, self.pairs = teachers, tuple(compared.pairs)
        self.student_taps = taps_of([pair.student for pair in self.pairs], weights)
        self.teacher_taps = taps_of([pair.teacher for pair in self.pairs], weights)
        dims = compared.student_dim, compared.teacher_dim
        for name, pairs in (("hidden", self.pairs), ("embedding", (LayerPair(0, 0),))):
            if getattr(weights, name, 0):
                losses = (self.hidden_loss(pairs, *dims) for _ in range(teachers))
                self.add_module(name, nn.ModuleList(losses))

    def forward(
        self,
        student: Outputs,
        teachers: Sequence[Outputs],
        label: Tensor,
        real: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Loss terms of nonzero weight by name; arguments as for ``Distillation``."""
        self._check(student, teachers)
        return super().forward(student, teachers, label, real)

    def terms(
        self, student: Outputs, teachers: Sequence[Outputs], label: Tensor, real: Tensor | None
    ) -> Terms:
        """Soft labels, and hidden states of paired layers and of embeddings."""
        return {
            "distillation": lambda: mean_of(
                self.soft_label(student.scores, each.scores) for each in teachers
            ),
            "hidden": lambda: mean_of(compare_hidden(self.hidden, student, teachers)),
            "embedding": lambda: mean_of(compare_hidden(self.embedding, student, teachers)),
        }

    def _check(self, student: Outputs, teachers: Sequence[Outputs]) -> None:
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


def compare_hidden(losses: Any, student: Outputs, teachers: Sequence[Outputs]) -> list[Tensor]:
    """Hidden-state loss under each teacher."""
    own = states_of(student).hidden
    return [
        loss(own, states_of(teacher).hidden) for loss, teacher in zip(losses, teachers, strict=True)
    ]
