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
from recbole_tinynews.serving.reading import Reading

NO_IDS = torch.empty(0, dtype=torch.long)


class Batch(NamedTuple):
    """Users' clicks and candidates, as rows of the articles' vectors."""

    vectors: Tensor  # [1 + articles, dim]; zeros in row 0
    histories: Tensor  # [users, history_length], newest last, 0 in front
    candidates: Tensor  # [candidates], user by user
    sizes: Tensor  # [users], their numbers of candidates


class Engine(ABC):
    """Vectors and scores; thread-safe. ``identity``: digest of everything that affects a vector."""

    two_towers: bool = True  # a text score is the dot product of a user vector and a news vector
    counting: Counting | None = None  # counters that scores may use
    user_encoder: UserEncoder | None = None  # the package's, which weighs clicks
    device = torch.device("cpu")

    def __init__(self, settings: Mapping[str, Any], identity: str) -> None:
        self.settings, self.identity = settings, identity
        self.reading = Reading(settings)

    @abstractmethod
    def encode(self, columns: Mapping[str, Sequence[str]]) -> Tensor:
        """Vectors of articles, ``[articles, dim]``, float32, from ``Reading.columns``."""

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

    def contributions(self, text: Tensor, counters: Tensor) -> Tensor | None:
        """What text, popularity and freshness add to scores, ``[candidates, 3]``, if known."""
        return None

    def scores(self, batch: Batch, counters: Tensor | None = None) -> Tensor:
        """Scores of all users' candidates, ``[candidates]``.

        ``counters``: ``[candidates, features]`` by ``counting`` (``None``: text scores).
        """
        users = self.user_vectors(batch.vectors, batch.histories)
        users, news = users.repeat_interleave(batch.sizes, 0), batch.vectors[batch.candidates]
        return self.total_scores((news * users).sum(-1), users, news, counters)


class ModelEngine(Engine):
    """Runs a trained recommender's own code, including a ``predict`` that its class overrides."""

    def __init__(self, model: NewsRecommender, settings: Mapping[str, Any], identity: str) -> None:
        super().__init__(settings, identity)
        self.model, self.device = model.eval(), torch.device(settings["device"])
        own, encoder = type(model), model.user_encoder
        self.user_encoder = encoder if type(encoder) is UserEncoder else None
        self.two_towers = (
            own.predict is NewsRecommender.predict
            and own.encode_news is NewsRecommender.encode_news
        )
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
    def contributions(self, text: Tensor, counters: Tensor) -> Tensor | None:
        """What text, popularity and freshness add to scores, ``[candidates, 3]``."""
        time = self.model.time
        return time.parts(text, counters) if isinstance(time, TimeScore) else None

    @torch.inference_mode()
    def scores(self, batch: Batch, counters: Tensor | None = None) -> Tensor:
        """Scores of each user's candidates, ``[candidates]``, as in evaluation."""
        if self.two_towers:
            return super().scores(batch, counters)
        users = len(batch.histories)
        fields = {
            self.settings["USER_ID_FIELD"]: torch.zeros(users, dtype=torch.long),
            IMPRESSION: torch.arange(users),
            IMPRESSION_SIZE: batch.sizes,
            HISTORY: batch.histories,
            CANDIDATES: batch.candidates,
            **({} if counters is None else {CANDIDATE_FEATURES: counters}),
        }
        given = Interaction(fields).to(self.device)
        return self._with_vectors(batch.vectors).predict(given).float()

    def _with_vectors(self, vectors: Tensor) -> NewsRecommender:
        """A copy of the model that looks up news vectors in a table; other modules are shared."""
        model = copy.copy(self.model)
        table = nn.Embedding.from_pretrained(vectors)
        model._modules = {**model._modules, "news_encoder": table}
        return model
