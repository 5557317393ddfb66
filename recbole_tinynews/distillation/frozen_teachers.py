"""The teachers that label a batch. They are frozen, and no student ever holds them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recbole_tinynews.distillation.states import States, Taps


class Teacher(NamedTuple):
    """One finetuned or post-trained recommender, as the two functions that it is made of."""

    news_encoder: nn.Module
    user_encoder: nn.Module


class TeacherLabels(NamedTuple):
    """What the teachers say of a batch.

    Shapes:
        scores: ``[batch, teachers, candidates]``, raw.
        candidates: ``[batch, teachers, candidates, teacher_dim]``.
        history: ``[batch, teachers, history, teacher_dim]``.
        user: ``[batch, teachers, teacher_dim]``.
    """

    scores: Tensor
    candidates: Tensor
    history: Tensor
    user: Tensor


class TeacherEnsemble(nn.Module):
    """M frozen teachers in evaluation mode.

    A news encoder in evaluation mode encodes each news once, so a teacher costs a step of its
    student a look-up and its user encoder.
    """

    def __init__(self, teachers: Sequence[Teacher]) -> None:
        super().__init__()
        if not teachers:
            raise ValueError("TeacherEnsemble expects at least 1 teacher, got none.")
        self.news_encoders = nn.ModuleList(teacher.news_encoder for teacher in teachers)
        self.user_encoders = nn.ModuleList(teacher.user_encoder for teacher in teachers)
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> TeacherEnsemble:
        """Teachers never train, whatever module they hang in."""
        return super().train(False)

    def encode_ahead(
        self, ids: NDArray[np.int64], show_progress: bool = False, folder: Path | None = None
    ) -> None:
        """Encode what batches are going to hold, once for all trainings that keep ``folder``."""
        news_encoder: Any
        for news_encoder in self.news_encoders:
            news_encoder.encode_ahead(ids, show_progress, folder)

    @torch.no_grad()
    def label(self, history: Tensor, candidates: Tensor) -> TeacherLabels:
        """Labels of a training batch; from news vectors on in full precision.

        Shapes:
            history: ``[batch, history]``, news ids, 0 for an empty slot.
            candidates: ``[batch, candidates]``, news ids.
        """
        made = [
            _label(news_encoder, user_encoder, history, candidates)
            for news_encoder, user_encoder in zip(
                self.news_encoders, self.user_encoders, strict=True
            )
        ]
        return TeacherLabels(*(torch.stack(parts, dim=1) for parts in zip(*made, strict=True)))

    @torch.no_grad()
    def states(self, news_ids: Tensor, taps: Taps) -> list[States]:
        """Each teacher's inner states of the distinct news among the ids, computed now.

        Shapes:
            news_ids: any.
        """
        made = []
        news_encoder: Any
        for news_encoder in self.news_encoders:
            with news_encoder.tapped(taps) as tap:
                news_encoder(news_ids)
            made.append(tap.states())
        return made


def _label(
    news_encoder: nn.Module, user_encoder: nn.Module, history: Tensor, candidates: Tensor
) -> TeacherLabels:
    history_vectors, candidate_vectors = news_encoder(history), news_encoder(candidates)
    with torch.autocast(history.device.type, enabled=False):
        user = user_encoder(history_vectors, history != 0)
        scores = (candidate_vectors @ user.unsqueeze(-1)).squeeze(-1)
    return TeacherLabels(scores, candidate_vectors, history_vectors, user)
