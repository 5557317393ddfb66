"""Hidden-state distillation: the student's layers imitate the teacher's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
