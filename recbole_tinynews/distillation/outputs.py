"""Outputs of a recommender for a training batch, which students and teachers share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recbole_tinynews.encoder.states import NO_TAPS, States, Taps


class BatchIds(NamedTuple):
    """Ids of a batch, for recommenders that read more than vectors.

    Shapes:
        history: ``[batch, history]``, news ids; 0 in empty slots.
        candidates: ``[batch, candidates]``, news ids; 0 pads.
        users: ``[batch]``; 0 for a user unseen in training. None unless the recommender reads it.
        counters: ``[batch, candidates, counters]``, of what is read now (``data.popularity``); None
            where the batch has none.
    """

    history: Tensor
    candidates: Tensor
    users: Tensor | None = None
    counters: Tensor | None = None


class Encoded(NamedTuple):
    """The news of a batch as vectors, before a user is modelled.

    Shapes:
        candidates: ``[batch, candidates, dim]``.
        history: ``[batch, history, dim]``; zeros in empty slots.
        clicked: ``[batch, history]``, True where the slot holds a click.
        states: of the same pass; None unless requested.
        ids: of users and news, which every recommender's ``encode`` adds.
    """

    candidates: Tensor
    history: Tensor
    clicked: Tensor
    states: States | None = None
    ids: BatchIds | None = None


class Outputs(NamedTuple):
    """Outputs of a recommender, student or teacher, for a training batch.

    Shapes:
        scores: ``[batch, candidates]``, raw.
        candidates: ``[batch, candidates, dim]``.
        history: ``[batch, history, dim]``; zeros in empty slots.
        user: ``[batch, dim]``.
        states: of the distinct news of the batch; None unless requested.
        interests: ``[batch, candidates, interests, dim]``, for users with several per candidate.
    """

    scores: Tensor
    candidates: Tensor
    history: Tensor
    user: Tensor
    states: States | None = None
    interests: Tensor | None = None


class Teacher(Protocol):
    """The interface of a teacher, which every ``NewsRecommender`` has."""

    news_encoder: Any

    def encode(self, interaction: Any, taps: Taps = NO_TAPS) -> Encoded:
        """Vectors of the batch's news, with the inner states of ``taps``."""

    def outputs_of(self, news: Encoded) -> Outputs:
        """User vectors from histories, and the scores of their candidates."""


class Teachers(Protocol):
    """The teachers of one student: frozen, or trained together with it."""

    members: nn.ModuleList

    def outputs(self, batch: Any, taps: Taps = NO_TAPS) -> list[Outputs]:
        """Outputs of each teacher, with the inner states of ``taps``."""

    def encode_ahead(
        self, ids: NDArray[np.int64], show_progress: bool = False, folder: Path | None = None
    ) -> None:
        """Prepare for batches with these news."""

    def tap_ahead(self, ids: NDArray[np.int64], taps: Taps, show_progress: bool = False) -> None:
        """The same for their inner states."""


def stacked_scores(teachers: Sequence[Outputs]) -> Tensor:
    """The scores of all teachers, stacked: ``[batch, teachers, candidates]``."""
    return torch.stack([teacher.scores for teacher in teachers], dim=1)
