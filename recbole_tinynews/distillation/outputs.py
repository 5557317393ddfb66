"""Outputs of a recommender for a training batch, shared by students and teachers."""

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

    News ids ``history`` ``[batch, history]`` and ``candidates`` ``[batch, candidates]``, 0 where
    empty; if read, ``users`` ``[batch]``, 0 if unseen in training, ``counters`` ``[*candidates,
    counters]`` (``data.popularity``) and ``click_counters`` ``[*history, 2]``, clicks and
    exposures.
    """

    history: Tensor
    candidates: Tensor
    users: Tensor | None = None
    counters: Tensor | None = None
    click_counters: Tensor | None = None


class Encoded(NamedTuple):
    """News vectors of a batch, before users are modelled.

    ``candidates`` ``[batch, candidates, dim]``; ``history`` ``[batch, history, dim]``, zeros where
    not ``clicked`` ``[batch, history]``; inner ``states`` if requested; ``ids`` of users and news.
    """

    candidates: Tensor
    history: Tensor
    clicked: Tensor
    states: States | None = None
    ids: BatchIds | None = None


class Outputs(NamedTuple):
    """Outputs of a student or teacher for a training batch.

    Shapes:
        scores: ``[batch, candidates]``, raw.
        candidates, history: ``[batch, candidates, dim]`` and ``[batch, history, dim]``.
        user: ``[batch, dim]``.
        states: of the batch's distinct news, if requested.
        interests: ``[batch, candidates, interests, dim]``, for multi-interest users.
        offset_scores: ``[batch, candidates]``, with popularity as an offset; None: as ``scores``.
    """

    scores: Tensor
    candidates: Tensor
    history: Tensor
    user: Tensor
    states: States | None = None
    interests: Tensor | None = None
    offset_scores: Tensor | None = None

    @property
    def click_scores(self) -> Tensor:
        """The scores that the loss of clicks compares."""
        return self.scores if self.offset_scores is None else self.offset_scores


class Teacher(Protocol):
    """Interface of a teacher, which every ``NewsRecommender`` has."""

    news_encoder: Any

    def encode(self, interaction: Any, taps: Taps = NO_TAPS) -> Encoded:
        """Vectors of the batch's news, with the inner states of ``taps``."""

    def outputs_of(self, news: Encoded) -> Outputs:
        """User vectors, and the scores of candidates."""


class Teachers(Protocol):
    """The teachers of one student: frozen or trained jointly."""

    members: nn.ModuleList

    def outputs(self, batch: Any, taps: Taps = NO_TAPS) -> list[Outputs]:
        """Outputs of each teacher, with the inner states of ``taps``."""

    def encode_ahead(
        self, ids: NDArray[np.int64], show_progress: bool = False, folder: Path | None = None
    ) -> None:
        """Prepare for batches with these news articles."""

    def tap_ahead(self, ids: NDArray[np.int64], taps: Taps, show_progress: bool = False) -> None:
        """Prepare their inner states."""


def stacked_scores(teachers: Sequence[Outputs]) -> Tensor:
    """Scores of all teachers, ``[batch, teachers, candidates]``."""
    return torch.stack([teacher.scores for teacher in teachers], dim=1)
