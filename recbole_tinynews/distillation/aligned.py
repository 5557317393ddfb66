"""Distillation in one vector space: a student's vectors take the direction of its teachers'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from recbole_tinynews.distillation.loss_terms import Distillation, Terms, Weights
from recbole_tinynews.distillation.outputs import Outputs, stacked_scores


class AlignedDistillation(Distillation):
    """Soft labels, directions of news vectors, and the target, under the mean of the teachers.

    ``T^2 CE(mean_i y^(t_i) / T, y^(s) / T) + mean over news of 1 - cos(n^(s), sum_i n^(t_i)) +
    CE(y^(s), y)``, our definition (docs/method.md, section 12). All vectors lie in the language
    model's space, so there are no projections. ``temperature`` is T.

    With ``rotated``, the size of a teacher's vector, students with smaller vectors imitate the
    first entries of the teachers' in the basis ``axes [rotated, rotated]``, NaN until it is set.
    """

    counted_by: ClassVar[Mapping[str, str]] = {"embedding": "articles"}
    axes: Tensor | None

    def __init__(self, temperature: float, weights: Weights, rotated: int | None = None) -> None:
        super().__init__(temperature, weights)
        axes = None if rotated is None else torch.full((rotated, rotated), float("nan"))
        self.register_buffer("axes", axes)

    @property
    def has_axes(self) -> bool:
        """Whether ``axes`` are set."""
        return self.axes is not None and not bool(self.axes.isnan().any())

    def terms(
        self, student: Outputs, teachers: Sequence[Outputs], label: Tensor, real: Tensor | None
    ) -> Terms:
        """Soft labels of the mean scores, and directions of the ``real`` articles' vectors."""
        assert real is not None
        dim = student.candidates.shape[-1]
        return {
            "distillation": lambda: self.soft_label(
                student.scores, stacked_scores(teachers).mean(dim=1)
            ),
            "embedding": lambda: cosine_distance(_news(student), self._target(teachers, dim), real),
        }

    def _target(self, teachers: Sequence[Outputs], dim: int) -> Tensor:
        """Sum of the teachers' vectors, ``[batch, history + candidates, dim]``."""
        vectors = torch.stack(list(map(_news, teachers))).sum(0).detach()
        return vectors[..., :dim] if self.axes is None else vectors @ self.axes[:dim].T


def cosine_distance(vectors: Tensor, others: Tensor, real: Tensor) -> Tensor:
    """Mean of ``1 - cos`` over ``real [batch, news]`` pairs of vectors ``[batch, news, dim]``."""
    # masked, since boolean indexing would synchronise with the device
    apart = (1 - F.cosine_similarity(vectors, others, dim=-1)) * real
    return apart.sum() / real.sum()


def _news(outputs: Outputs) -> Tensor:
    """``[batch, history + candidates, dim]``."""
    return torch.cat([outputs.history, outputs.candidates], dim=1)
