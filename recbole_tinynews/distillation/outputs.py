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
    """Ids of a batch, for recommenders that read more than vectors; ``None``: not read."""

    history: Tensor  # [batch, history], news ids, 0 where empty
    candidates: Tensor  # [batch, candidates], news ids, 0 where empty
    of_readers: tuple[Tensor, ...] = ()  # each [batch, ...], for the user encoder
    counters: Tensor | None = None  # [*candidates, counters], of `data.popularity`
    page: Tensor | None = None  # [batch], news id of the page's article, 0 where there is none


class Encoded(NamedTuple):
    """News vectors of a batch, before users are modelled."""

    candidates: Tensor  # [batch, candidates, dim]
    history: Tensor  # [batch, history, dim], zeros where not clicked
    clicked: Tensor  # [batch, history], False for empty slots
    states: States | None = None  # if requested
    ids: BatchIds | None = None


class Outputs(NamedTuple):
    """Outputs of a student or teacher for a training batch."""

    scores: Tensor  # [batch, candidates], raw
    candidates: Tensor  # [batch, candidates, dim]
    history: Tensor  # [batch, history, dim]
    user: Tensor  # [batch, dim]
    states: States | None = None  # of the batch's distinct news, if requested
    text_scores: Tensor | None = None  # [batch, candidates]; None: `scores` have no other term
    further: Tensor | None = None  # what `further_losses` of a subclass needs besides


class Teacher(Protocol):
    """Interface of a teacher, which every ``NewsRecommender`` has."""

    news_encoder: Any

    def encode(self, interaction: Any, taps: Taps = NO_TAPS) -> Encoded:
        """Vectors of the batch's news, with the inner states of ``taps``."""

    def outputs_of(self, news: Encoded) -> Outputs:
        """User vectors, and the scores of candidates."""


class Teachers(nn.Module):
    """Base of the teachers of one student; those that train with it prepare nothing."""

    members: nn.ModuleList

    def outputs(self, batch: Any, taps: Taps = NO_TAPS) -> list[Outputs]:
        """Outputs of each teacher, with the inner states of ``taps``."""
        raise NotImplementedError

    def encode_ahead(
        self, ids: NDArray[np.int64], show_progress: bool = False, folder: Path | None = None
    ) -> None:
        """Prepare for batches with these news articles."""

    def tap_ahead(self, ids: NDArray[np.int64], taps: Taps, show_progress: bool = False) -> None:
        """Prepare their inner states."""


def stacked_scores(teachers: Sequence[Outputs]) -> Tensor:
    """Scores of all teachers, ``[batch, teachers, candidates]``."""
    return torch.stack([teacher.scores for teacher in teachers], dim=1)
