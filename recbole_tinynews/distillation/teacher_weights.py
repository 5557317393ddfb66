"""How much each teacher counts for one sample: the better it knows the answer, the more."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def teacher_weights(scores: Tensor, label: Tensor) -> Tensor:
    """Softmax over teachers of minus their cross entropy, ``[batch, teachers]``.

    ``alpha`` and ``beta`` of Tiny-NewsRec, computed for each sample on raw scores, without
    temperature. They are labels: no gradient passes through them to a teacher.

    Shapes:
        scores: ``[batch, teachers, candidates]``, raw scores of the teachers.
        label: ``[batch]``, the place of the clicked candidate (or of the own title).
    """
    return _log_likelihood(scores, label).softmax(dim=-1)


def inverse_error_weights(scores: Tensor, label: Tensor) -> Tensor:
    """``1 / (1 + CE(y_i, y))`` of each teacher, ``[batch, teachers]``: not normalised over them.

    MT-BERT (Wu et al., Findings of ACL 2021), computed for each sample on raw scores. They are
    labels, as those of ``teacher_weights``, whose shapes they share.
    """
    return 1 / (1 - _log_likelihood(scores, label))


def _log_likelihood(scores: Tensor, label: Tensor) -> Tensor:
    """What each teacher makes of the answer, ``[batch, teachers]``: minus its cross entropy."""
    if scores.dim() != 3 or label.shape != scores.shape[:1]:
        raise ValueError(
            "teacher_weights expects scores [batch, teachers, candidates] and label [batch], got "
            f"{tuple(scores.shape)} and {tuple(label.shape)}."
        )
    place = label[:, None].expand(scores.shape[:2])
    return F.log_softmax(scores.detach(), dim=-1).gather(-1, place.unsqueeze(-1)).squeeze(-1)
