"""The records that a recommender exchanges with losses, teachers and serving."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from recbole_tinynews.encoder.hidden_states import HiddenStates


class BatchContext(NamedTuple):
    """Ids of a batch, for recommenders that read more than vectors; ``None``: not read."""

    history: Tensor  # [batch, history], news ids, 0 where empty
    candidates: Tensor  # [batch, candidates], news ids, 0 where empty
    of_readers: tuple[Tensor, ...] = ()  # each [batch, ...], for the user encoder
    counters: Tensor | None = None  # [*candidates, counters], of `data.popularity`
    page: Tensor | None = None  # [batch], news id of the page's article, 0 where there is none

    def with_further(self, features: Tensor) -> BatchContext:
        """With further features of candidates, ``[*candidates, features]``, after the counters."""
        assert self.counters is not None
        return self._replace(counters=torch.cat([self.counters, features], dim=-1))


class Encoded(NamedTuple):
    """News vectors of a batch, of the history and then of the candidates."""

    all: Tensor  # [batch, history + candidates, dim], zeros where empty
    real: Tensor  # [batch, history + candidates], False for empty slots
    width: int  # slots of the history
    context: BatchContext | None = None
    states: HiddenStates | None = None  # of the batch's distinct news, if requested

    @property
    def history(self) -> Tensor:
        """``[batch, history, dim]``."""
        return self.all[:, : self.width]

    @property
    def clicked(self) -> Tensor:
        """``[batch, history]``, False for empty slots."""
        return self.real[:, : self.width]

    @property
    def candidates(self) -> Tensor:
        """``[batch, candidates, dim]``."""
        return self.all[:, self.width :]


class Outputs(NamedTuple):
    """Outputs of a student or teacher for a training batch."""

    scores: Tensor  # [batch, candidates], raw
    user: Tensor  # [batch, dim]
    news: Encoded
    text_scores: Tensor | None = None  # [batch, candidates]; None: `scores` have no other term
    further: Tensor | None = None  # what `further_losses` of a subclass needs besides

    @property
    def states(self) -> HiddenStates:
        """Hidden states of the batch's distinct news; ``ValueError`` if none were requested."""
        if self.news.states is None:
            raise ValueError(
                "A loss on hidden states expects outputs with states, got some without. Ask "
                "student and teachers for the student_states and teacher_states of the "
                "distillation."
            )
        return self.news.states
