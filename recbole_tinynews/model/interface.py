"""The base of every recommender, and what it exchanges with losses, teachers and serving."""

from __future__ import annotations

import builtins
from typing import Any, ClassVar, NamedTuple

import torch
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import InputType, ModelType
from torch import Tensor
from torch.nn import functional as F

from recbole_tinynews.data.popularity import Counting
from recbole_tinynews.encoder.hidden_states import HiddenStates
from recbole_tinynews.settings.protocol import Settings


class ImpressionRecommender(AbstractRecommender):
    """Scores the candidates of an impression for the user who saw it.

    Direct subclasses are untrained, with settings from ``properties/impressions.yaml`` and their
    own yaml; ``trainer_class`` may be the name of one in ``recbole_tinynews.trainer``. Those that
    encode texts derive from ``NewsRecommender``. ``predict(interaction)`` gives scores of all
    candidates in an evaluation batch, ``[sum of impression_size]``.
    """

    trainer_class: ClassVar[str | builtins.type] = "UntrainedTrainer"

    type = ModelType.GENERAL  # for this type RecBole reads no further yaml over ours
    input_type = InputType.LISTWISE

    def __init__(self, config: Settings, dataset: Any) -> None:
        super().__init__()
        self.device = config["device"]


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


def further_features(counting: Counting) -> int:
    """Number of features that follow the counters: of the visit, and ``reader_features``."""
    return len(counting.context) + 2 * counting.reader + 3 * counting.page


def reader_features(
    news: Tensor, history: Tensor, context: BatchContext, page: Tensor | None
) -> Tensor:
    """Cosines of candidates with clicks and page, ``[batch, candidates, 2 or 5]``.

    The largest with a click, that with the newest one; then whether the impression is on an
    article's page, whether the candidate is that article, and its cosine with it. 0 where there is
    none.

    Args:
        news: vectors of the candidates, ``[batch, candidates, dim]``.
        history: vectors of the clicks, newest last, ``[batch, history, dim]``.
        context: ids of both, 0 where there is none.
        page: vector of the page's article, ``[batch, dim]``, if pages are read.
    """
    news, history = F.normalize(news, dim=-1), F.normalize(history, dim=-1)
    clicked = context.history != 0
    cosines = news @ history.transpose(1, 2)  # [batch, candidates, history]
    nearest = cosines.masked_fill(~clicked[:, None], -1).amax(2)
    any_click = clicked.any(1, keepdim=True)
    parts = [torch.where(any_click, nearest, 0), cosines[..., -1] * clicked[:, -1:]]
    if page is not None and context.page is not None:
        on_page = (context.page != 0).unsqueeze(1)
        same = (context.candidates == context.page.unsqueeze(1)) & on_page
        to_page = (news @ F.normalize(page, dim=-1).unsqueeze(-1)).squeeze(-1)
        parts += [on_page.expand(same.shape).to(news.dtype), same.to(news.dtype), to_page * on_page]
    return torch.stack(parts, dim=-1)


def features_of_impressions(
    news: Tensor, history: Tensor, sizes: Tensor, context: BatchContext, page: Tensor | None
) -> Tensor:
    """``reader_features`` of whole impressions, ``[sum of sizes, 2 or 5]``.

    One impression after the other, since one of them may have many times as many candidates.
    """
    lengths, features = sizes.tolist(), []
    ids = context.candidates.split(lengths)
    for row, candidates in enumerate(news.split(lengths)):
        one = slice(row, row + 1)
        of_page = None if context.page is None else context.page[one]
        own = BatchContext(context.history[one], ids[row][None], page=of_page)
        vector = None if page is None else page[one]
        features.append(reader_features(candidates[None], history[one], own, vector)[0])
    return torch.cat(features)
