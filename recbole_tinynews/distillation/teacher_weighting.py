"""Weightings of teachers from raw scores ``[batch, teachers, candidates]`` and the click."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

TeacherWeighting = Callable[[Tensor, Tensor], Tensor]


def mix_scores(scores: Tensor, weights: Tensor) -> Tensor:
    """Sum of raw scores ``[batch, teachers, candidates]``, weighted by ``[batch, teachers]``."""
    return (weights.unsqueeze(-1) * scores).sum(dim=1)


def softmax(scores: Tensor, label: Tensor) -> Tensor:
    """``alpha`` and ``beta`` of Tiny-NewsRec (EMNLP 2022): softmax of negative cross entropy."""
    return _log_likelihood(scores, label).softmax(dim=-1)


def equal(scores: Tensor, label: Tensor) -> Tensor:
    """Equal weights that sum to 1 per sample."""
    likelihood = _log_likelihood(scores, label)
    return torch.full_like(likelihood, 1 / likelihood.shape[1])


def best(scores: Tensor, label: Tensor) -> Tensor:
    """1 for the teacher with the smallest cross entropy (the first of ties), 0 for the others."""
    likelihood = _log_likelihood(scores, label)
    chosen = likelihood.argmax(dim=-1)
    return F.one_hot(chosen, likelihood.shape[1]).to(likelihood.dtype)


def inverse_error(scores: Tensor, label: Tensor) -> Tensor:
    """``1 / (1 + CE(y_i, y))``, not normalised over teachers (MT-BERT, Findings of ACL 2021)."""
    return 1 / (1 - _log_likelihood(scores, label))


WEIGHTINGS: dict[str, TeacherWeighting] = {
    "softmax": softmax,
    "equal": equal,
    "best": best,
    "inverse_error": inverse_error,
}


def _log_likelihood(scores: Tensor, label: Tensor) -> Tensor:
    """Negative cross entropy of each teacher, ``[batch, teachers]``."""
    if scores.dim() != 3 or label.shape != scores.shape[:1]:
        raise ValueError(
            "A teacher weighting expects scores [batch, teachers, candidates] and label [batch], "
            f"got {tuple(scores.shape)} and {tuple(label.shape)}."
        )
    place = label[:, None].expand(scores.shape[:2])
    return F.log_softmax(scores.detach(), dim=-1).gather(-1, place.unsqueeze(-1)).squeeze(-1)
