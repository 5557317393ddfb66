"""What a recommender computes for a training batch: the one record that students compare."""

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
    """Who and what a batch is about, for recommenders that look more up than vectors.

    Shapes:
        history: ``[batch, history]``, news ids; 0 in empty slots.
        candidates: ``[batch, candidates]``, news ids; 0 pads.
        users: ``[batch]``; 0 for a user whom training has not seen. None unless the recommender
            reads ids of users.
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
        states: of the pass that made the vectors; None where none was asked for.
        ids: of the users and news; every recommender's ``encode`` gives them.
    """

    candidates: Tensor
    history: Tensor
    clicked: Tensor
    states: States | None = None
    ids: BatchIds | None = None


class Outputs(NamedTuple):
    """What a recommender, student or teacher, computes for a training batch.

    Shapes:
        scores: ``[batch, candidates]``, raw.
        candidates: ``[batch, candidates, dim]``.
        history: ``[batch, history, dim]``; zeros in empty slots.
        user: ``[batch, dim]``.
        states: of the distinct news of the batch; None where none was asked for.
        interests: ``[batch, candidates, interests, dim]``, of a user who has several for each
            candidate; None: ``user`` is all.
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
        """Vectors of the batch's news, with the inner states that ``taps`` asks for."""

    def outputs_of(self, news: Encoded) -> Outputs:
        """User vectors from histories, and the scores of their candidates."""


class Teachers(Protocol):
    """The teachers of one student: frozen, or trained together with it."""

    members: nn.ModuleList

    def outputs(self, batch: Any, taps: Taps = NO_TAPS) -> list[Outputs]:
        """What each teacher computes for the batch, with the inner states of ``taps``."""

    def encode_ahead(
        self, ids: NDArray[np.int64], show_progress: bool = False, folder: Path | None = None
    ) -> None:
        """Prepare for batches that hold these news, where there is anything to prepare."""

    def tap_ahead(self, ids: NDArray[np.int64], taps: Taps, show_progress: bool = False) -> None:
        """The same for their inner states."""


def stacked_scores(teachers: Sequence[Outputs]) -> Tensor:
    """The scores of all teachers, stacked: ``[batch, teachers, candidates]``."""
    return torch.stack([teacher.scores for teacher in teachers], dim=1)
