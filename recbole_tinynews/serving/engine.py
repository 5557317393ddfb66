"""What ranks: texts into vectors, clicks into a user's vector, both into scores.

``Ranker`` stands on this alone, so that a trained recommender and an exported one rank alike.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_tinynews.data.fields import CANDIDATES, HISTORY, IMPRESSION, IMPRESSION_SIZE
from recbole_tinynews.data.given_articles import GivenArticles
from recbole_tinynews.encoder.users.attentive import UserEncoder
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.serving.reading import Reading


class Engine(ABC):
    """The arithmetic of a finished recommender; threads may share it.

    Attributes:
        settings: what it was trained with.
        reading: what it reads of an article.
        identity: of all that decides a vector; equal for equal vectors.
        two_towers: whether a score is the dot product of a user's vector and an article's.
        device: where vectors are.
    """

    two_towers: bool = True
    device = torch.device("cpu")

    def __init__(self, settings: Mapping[str, Any], identity: str) -> None:
        self.settings, self.identity = settings, identity
        self.reading = Reading(settings)

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> Tensor:
        """Vectors of articles by what is read of them, ``[texts, dim]``, float32.

        ``Reading`` makes these texts.
        """

    @abstractmethod
    def user_vectors(self, vectors: Tensor, histories: Tensor) -> Tensor:
        """Vectors of users from those of their clicks, ``[users, dim]``.

        Shapes:
            vectors: ``[1 + articles, dim]``; row 0 is padding, zeros.
            histories: ``[users, history_length]``, rows of ``vectors``, the newest click last,
                padded in front with 0.
        """

    def click_weights(self, vectors: Tensor, histories: Tensor) -> Tensor | None:
        """How much each click counts for the user's vector, ``[users, history_length]``.

        They sum to 1 for each user with clicks. ``None``: the recommender has no such weights.
        Shapes are those of ``user_vectors``.
        """
        return None

    def scores(self, vectors: Tensor, histories: Tensor, shown: Tensor, sizes: Tensor) -> Tensor:
        """Scores of each user's candidates, ``[shown]``.

        Shapes:
            vectors, histories: as for ``user_vectors``.
            shown: ``[shown]``, rows of ``vectors``: the candidates of all users, user after user.
            sizes: ``[users]``, how many of them are whose.
        """
        users = self.user_vectors(vectors, histories)
        return (vectors[shown] * users.repeat_interleave(sizes, 0)).sum(-1)


class ModelEngine(Engine):
    """A recommender that was trained here, with its own classes.

    A class that scores in a way of its own is asked for its own ``predict``, one call at a time.

    Args:
        categories: names by field, as ``GivenArticles`` takes them.
    """

    def __init__(
        self,
        model: NewsRecommender,
        settings: Mapping[str, Any],
        identity: str,
        categories: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__(settings, identity)
        self._categories = categories or {}
        self.model, self.device = model.eval(), torch.device(settings["device"])
        own = type(model)
        self.two_towers = (
            own.two_towers
            and own.predict is NewsRecommender.predict
            and own.encode_news is NewsRecommender.encode_news
        )
        self._turn = threading.Lock()  # the news encoder reads one table of texts at a time

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the lock, which belongs to this process."""
        return {name: value for name, value in vars(self).items() if name != "_turn"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore it with a lock of its own."""
        vars(self).update(state, _turn=threading.Lock())

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """Vectors of articles by what is read of them, ``[texts, dim]``, float32."""
        columns = self.reading.columns(texts)
        data = GivenArticles(columns, self.settings["ITEM_ID_FIELD"], self._categories)
        with self._turn:
            self.model.read_articles(self.settings, data)
            return self.model.news_encoder.encode_distinct(np.arange(1, 1 + len(texts))).float()

    @torch.no_grad()
    def user_vectors(self, vectors: Tensor, histories: Tensor) -> Tensor:
        """Vectors of users from those of their clicks, ``[users, dim]``."""
        encoder, own = self.model.user_encoder, type(self.model)
        if type(encoder) is not UserEncoder or own.encode_user is not NewsRecommender.encode_user:
            return self.model.encode_user(vectors[histories], histories != 0).float()
        if encoder.ignores_empty_slots:  # in front of all users' clicks
            longest = int((histories != 0).sum(dim=1).max()) if len(histories) else 0
            histories = histories[:, histories.shape[1] - max(longest, 1) :]
        # an article that several users clicked counts as much for each of them
        shared = encoder.weighs_clicks_alone and histories.numel() > len(vectors)
        energy = encoder.pooling.energy(vectors)[histories] if shared else None
        return encoder(vectors[histories], histories != 0, energy).float()

    @torch.no_grad()
    def click_weights(self, vectors: Tensor, histories: Tensor) -> Tensor | None:
        """The weights of the attention that pools the clicks."""
        encoder = self.model.user_encoder
        if type(encoder) is not UserEncoder:
            return None
        return encoder.click_weights(vectors[histories], histories != 0)

    @torch.no_grad()
    def scores(self, vectors: Tensor, histories: Tensor, shown: Tensor, sizes: Tensor) -> Tensor:
        """Scores of each user's candidates, as in evaluation."""
        if self.two_towers:
            return super().scores(vectors, histories, shown, sizes)
        users = len(histories)
        batch = {
            self.settings["USER_ID_FIELD"]: torch.zeros(users, dtype=torch.long),
            IMPRESSION: torch.arange(users),
            IMPRESSION_SIZE: sizes,
            HISTORY: histories,
            CANDIDATES: shown,
        }
        with self._turn, self.model.news_encoder.given(vectors):
            return self.model.predict(Interaction(batch).to(self.model.device)).float()
