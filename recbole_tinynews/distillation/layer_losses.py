"""Losses on the hidden states of layers: the student's layers imitate the teacher's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tinynews.distillation.loss_terms import Distillation, Terms, mean_of
from recbole_tinynews.encoder.hidden_states import StateRequest
from recbole_tinynews.model.interface import Outputs

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
    last layers one by one, as in earlier code by Tiny-NewsRec's authors.

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


class HiddenStateLoss(nn.Module):
    """Sum over layer pairs of ``MSE(H_s W_h, H_t)``; for the pair (0, 0) ``MSE(E_s W_e, E_t)``.

    ``L_hidn`` and ``L_embd`` of TinyBERT (Jiao et al., Findings of EMNLP 2020). If widths differ,
    all pairs share one ``W``. Means are over tokens of distinct texts without padding (ours).
    """

    def __init__(self, pairs: Sequence[LayerPair], student_dim: int, teacher_dim: int) -> None:
        super().__init__()
        self.pairs = tuple(pairs)
        self.projection = None
        if student_dim != teacher_dim:
            self.projection = linear_map(student_dim, teacher_dim)

    def forward(self, student: Mapping[int, Tensor], teacher: Mapping[int, Tensor]) -> Tensor:
        """Loss of shape ``[]`` on states by layer, ``[tokens, hidden]`` of the same tokens."""
        losses = []
        for pair in self.pairs:
            own, other = student[pair.student], teacher[pair.teacher].detach()
            own = own if self.projection is None else self.projection(own)
            losses.append(mean_squared_error("HiddenStateLoss", own, other))
        return torch.stack(losses).sum()


class ProjectedHiddenStateLoss(nn.Module):
    """MT-BERT's ``MSE(H_s, W_t H_t)`` (Wu et al., ACL Findings 2021); a ``W`` per pair is ours."""

    def __init__(self, pairs: Sequence[LayerPair], student_dim: int, teacher_dim: int) -> None:
        super().__init__()
        self.pairs = tuple(pairs)
        self.projections = nn.ModuleList(linear_map(teacher_dim, student_dim) for _ in self.pairs)

    def forward(self, student: Mapping[int, Tensor], teacher: Mapping[int, Tensor]) -> Tensor:
        """Loss of shape ``[]`` on states by layer, ``[tokens, hidden]`` of the same tokens."""
        losses = [
            mean_squared_error(
                "ProjectedHiddenStateLoss",
                student[pair.student],
                project(teacher[pair.teacher].detach()),
            )
            for pair, project in zip(self.pairs, self.projections, strict=True)
        ]
        return torch.stack(losses).sum()


def linear_map(inputs: int, outputs: int) -> nn.Linear:
    """A matrix without bias, Xavier-uniform."""
    made = nn.Linear(inputs, outputs, bias=False)
    nn.init.xavier_uniform_(made.weight)
    return made


def mean_squared_error(name: str, student: Tensor, teacher: Tensor, hint: str = "") -> Tensor:
    """Mean squared error, in full precision under autocast; ``ValueError`` for unequal shapes."""
    if student.shape != teacher.shape:
        raise ValueError(
            f"{name} expects equal shapes, got student {tuple(student.shape)} and teacher "
            f"{tuple(teacher.shape)}. Give student and teacher the same texts and tokens.{hint}"
        )
    return F.mse_loss(student, teacher.to(student.dtype))


class Compared(NamedTuple):
    """Layers to compare (frozen ones of the student are constant, so left out), and widths."""

    pairs: Sequence[LayerPair]
    embeddings_train: bool
    student_dim: int
    teacher_dim: int


class LayerDistillation(Distillation):
    """Base of losses that compare scores and hidden states with those of teachers.

    Soft labels have the factor ``T ** 2`` (our definition). Losses that compare nothing have weight
    0. By default each loss is the mean over the teachers.
    """

    remedy = (
        "Losses on layers that do not train have the weight 0. Raise distillation_loss_weight or "
        "target_loss_weight, or train more layers (finetune_layers)."
    )
    loss_units: ClassVar[Mapping[str, str]] = {
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
        self.student_states = states_at([pair.student for pair in self.pairs], weights)
        self.teacher_states = states_at([pair.teacher for pair in self.pairs], weights)
        dims = compared.student_dim, compared.teacher_dim
        for name, pairs in (("hidden", self.pairs), ("embedding", (LayerPair(0, 0),))):
            if getattr(weights, name, 0):
                losses = (self.hidden_loss(pairs, *dims) for _ in range(teachers))
                self.add_module(name, nn.ModuleList(losses))

    def forward(
        self, student: Outputs, teachers: Sequence[Outputs], label: Tensor
    ) -> tuple[Tensor, ...]:
        """Loss terms of nonzero weight by name; arguments as for ``Distillation``."""
        self._check(student, teachers)
        return super().forward(student, teachers, label)

    def terms(self, student: Outputs, teachers: Sequence[Outputs], label: Tensor) -> Terms:
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
        if student.news.states is None:
            return
        for number, teacher in enumerate(teachers):
            if not np.array_equal(teacher.states.ids, student.states.ids):
                raise ValueError(
                    f"{name} expects states of the same {len(student.states.ids)} texts in the "
                    f"same order, got others from teacher {number}. Encode the news of one batch "
                    "with both."
                )


def states_at(layers: Sequence[int], weights: Any) -> StateRequest:
    """Hidden states that losses of nonzero weight compare, at these layers."""
    present = {loss for loss, weight in weights._asdict().items() if weight}
    embedding = [0] if "embedding" in present else []
    hidden = layers if "hidden" in present else []
    attention = layers if "attention" in present else []
    return StateRequest(
        frozenset([*embedding, *hidden]), frozenset(attention), pooled="news_vector" in present
    )


def compare_hidden(losses: Any, student: Outputs, teachers: Sequence[Outputs]) -> list[Tensor]:
    """Hidden-state loss under each teacher."""
    hidden = student.states.hidden
    pairs = zip(losses, teachers, strict=True)
    return [loss(hidden, teacher.states.hidden) for loss, teacher in pairs]
