"""Vectors and scores for ``Ranker``, from a trained or an exported recommender."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_tinynews.data.fields import (
    CANDIDATE_FEATURES,
    CANDIDATES,
    HISTORY,
    IMPRESSION,
    IMPRESSION_SIZE,
)
from recbole_tinynews.data.popularity import Counting
from recbole_tinynews.encoder.users import UserEncoder
from recbole_tinynews.model.interface import BatchContext
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.model.time_features import TimeScore
from recbole_tinynews.serving.article_fields import InputFields

NO_IDS = torch.empty(0, dtype=torch.long)


class Batch(NamedTuple):
    """Users' clicks and candidates, as rows of the articles' vectors."""

    vectors: Tensor  # [1 + articles, dim]; zeros in row 0
    histories: Tensor  # [users, history_length], newest last, 0 in front
    candidates: Tensor  # [candidates], user by user
    sizes: Tensor  # [users], their numbers of candidates


class Engine(ABC):
    """Vectors, and scores as dot products of a user's and an article's; thread-safe.

    ``identity``: digest of everything that affects a vector; ``counting``: counters that scores may
    use; ``user_encoder``: the package's, which weighs clicks, if it has that.
    """

    counting: Counting | None = None
    user_encoder: UserEncoder | None = None
    device = torch.device("cpu")

    def __init__(self, settings: Mapping[str, Any], identity: str) -> None:
        self.settings, self.identity = settings, identity
        self.fields = InputFields(settings)

    @abstractmethod
    def encode(self, columns: Mapping[str, Sequence[str]]) -> Tensor:
        """Vectors of articles, ``[articles, dim]``, float32, from ``InputFields.columns``."""

    @abstractmethod
    def user_vectors(self, vectors: Tensor, histories: Tensor) -> Tensor:
        """User vectors, ``[users, dim]``; arguments as in ``Batch``."""

    @torch.inference_mode()
    def click_weights(self, vectors: Tensor, histories: Tensor) -> Tensor | None:
        """Attention weights, ``[users, history_length]``; each user's sum is 1. ``None``: none."""
        encoder, clicked = self.user_encoder, histories != 0
        return None if encoder is None else encoder.click_weights(vectors[histories], clicked)

    def total_scores(
        self, text: Tensor, users: Tensor, news: Tensor, counters: Tensor | None
    ) -> Tensor:
        """Text scores plus the term of counters, if any, as ``NewsRecommender.total_scores``."""
        return text

    def contributions(self, batch: Batch, counters: Tensor) -> Tensor | None:
        """What text, popularity and freshness add to one user's scores, ``[candidates, 3]``."""
        return None

    def text_scores(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Text scores ``[candidates]``, and each candidate's user and news vectors."""
        users = self.user_vectors(batch.vectors, batch.histories)
        users, news = users.repeat_interleave(batch.sizes, 0), batch.vectors[batch.candidates]
        return (news * users).sum(-1), users, news

    def scores(self, batch: Batch, counters: Tensor | None = None) -> Tensor:
        """Scores of all users' candidates, ``[candidates]``.

        ``counters``: ``[candidates, features]`` by ``counting`` (``None``: text scores).
        """
        return self.total_scores(*self.text_scores(batch), counters)

    def all_scores(self, batch: Batch, vectors: Tensor, counters: Tensor | None = None) -> Tensor:
        """Scores of all articles, ``[articles, dim]``, for all users, ``[users, articles]``.

        ``counters``: ``[users * articles, features]``.
        """
        users = self.user_vectors(batch.vectors, batch.histories)
        text = users @ vectors.T
        if counters is not None:
            counters = counters.view(*text.shape, -1)
        return self.total_scores(text, users, vectors.expand(len(users), -1, -1), counters)


class ModelEngine(Engine):
    """Runs a trained recommender's own code."""

    def __init__(self, model: NewsRecommender, settings: Mapping[str, Any], identity: str) -> None:
        super().__init__(settings, identity)
        self.model, self.device = model.eval(), torch.device(settings["device"])
        encoder = model.user_encoder
        self.user_encoder = encoder if type(encoder) is UserEncoder else None
        self.counting = model.counting

    def encode(self, columns: Mapping[str, Sequence[str]]) -> Tensor:
        """Vectors of articles, ``[articles, dim]``, float32."""
        return self.model.news_encoder.encode_texts(columns).float()

    @torch.inference_mode()
    def user_vectors(self, vectors: Tensor, histories: Tensor) -> Tensor:
        """User vectors, ``[users, dim]``."""
        encoder, own = self.user_encoder, type(self.model)
        if encoder is None or own.encode_user is not NewsRecommender.encode_user:
            return self.model.encode_user(vectors[histories], histories != 0).float()
        if encoder.ignores_empty_slots:  # drop those in front of all users' clicks
            longest = int((histories != 0).sum(dim=1).max()) if len(histories) else 0
            histories = histories[:, histories.shape[1] - max(longest, 1) :]
        # computed once per article, even if several users clicked it
        shared = encoder.weighs_clicks_alone and histories.numel() > len(vectors)
        energy = encoder.pooling.energy(vectors)[histories] if shared else None
        return encoder(vectors[histories], histories != 0, energy).float()

    @torch.inference_mode()
    def total_scores(
        self, text: Tensor, users: Tensor, news: Tensor, counters: Tensor | None
    ) -> Tensor:
        """Text scores plus the term of counters, if any."""
        about = None if counters is None else BatchContext(NO_IDS, NO_IDS, counters=counters)
        return self.model.total_scores(text, about, users, news)

    @torch.inference_mode()
    def contributions(self, batch: Batch, counters: Tensor) -> Tensor | None:
        """What text, popularity and freshness add to one user's scores, ``[candidates, 3]``."""
        time = self.model.time
        if not isinstance(time, TimeScore):
            return None
        text, *_ = self.text_scores(batch)
        return time.parts(text, counters)


class PredictEngine(ModelEngine):
    """Scores by the recommender's own ``predict``, which is no dot product of two vectors."""

    def contributions(self, batch: Batch, counters: Tensor) -> None:
        """Unknown."""

    @torch.inference_mode()
    def scores(self, batch: Batch, counters: Tensor | None = None) -> Tensor:
        """Scores of each user's candidates, ``[candidates]``, as in evaluation."""
        users = len(batch.histories)
        fields = {
            self.settings["USER_ID_FIELD"]: torch.zeros(users, dtype=torch.long),
            IMPRESSION: torch.arange(users),
            IMPRESSION_SIZE: batch.sizes,
            HISTORY: batch.histories,
            CANDIDATES: batch.candidates,
            **({} if counters is None else {CANDIDATE_FEATURES: counters}),
        }
        # a copy that looks news vectors up in a table; other modules are shared
        model = copy.copy(self.model)
        table = nn.Embedding.from_pretrained(batch.vectors)
        model._modules = {**model._modules, "news_encoder": table}
        return model.predict(Interaction(fields).to(self.device)).float()

    def all_scores(self, batch: Batch, vectors: Tensor, counters: Tensor | None = None) -> Tensor:
        """Scores of all articles for all users, ``[users, articles]``."""
        users, articles = len(batch.histories), len(vectors)
        rows = torch.arange(articles, device=vectors.device) + len(batch.vectors)
        sizes = torch.full((users,), articles, device=vectors.device)
        table = torch.cat([batch.vectors, vectors])
        every = Batch(table, batch.histories, rows.repeat(users), sizes)
        return self.scores(every, counters).view(users, articles)


def engine_of(model: NewsRecommender, settings: Mapping[str, Any], identity: str) -> ModelEngine:
    """The engine of a trained recommender, by whether its class replaces the dot product."""
    is_dot_product = (
        type(model).predict is NewsRecommender.predict
        and type(model).encode_news is NewsRecommender.encode_news
    )
    return (ModelEngine if is_dot_product else PredictEngine)(model, settings, identity)
