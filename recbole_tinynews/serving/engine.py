"""Vectors and scores for ``Ranker``, from a trained or an exported recommender."""

from __future__ import annotations

import copy
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_tinynews.data.fields import (
    CANDIDATE_FEATURES,
    CANDIDATES,
    CONTEXT_ARTICLE,
    HISTORY,
    IMPRESSION,
    IMPRESSION_SIZE,
)
from recbole_tinynews.data.news_text import TITLE_ABSTRACT
from recbole_tinynews.data.popularity import Counting
from recbole_tinynews.encoder.users import UserEncoder
from recbole_tinynews.files.columns import ABSTRACT, CATEGORIES, TITLE
from recbole_tinynews.model.interface import BatchContext
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.model.time_features import TimeScore

NOT_A_NUMBER = "The model scores {!r} with NaN. Its weights are damaged: retrain it."
NO_IDS = torch.empty(0, dtype=torch.long)
CATEGORY_BUFFER = "article_categories"
# of the random batch that engines are compared on
ARTICLES, LONGEST_HISTORY, LARGEST_COUNTER = 8, 1_000, 9.0
TOLERANCE = 1e-4  # of its scores, relative to the largest


def category_ids(groups: Iterable[Sequence[str]], device: torch.device) -> Tensor:
    """``[articles, 2]`` for their categories and subcategories: equal for equal names, 0: none."""
    # the same in every process, as a ranker may be sent to another one
    names = [[name.encode("utf-8", "surrogatepass") for name in each[:2]] for each in groups]
    numbers = [[zlib.crc32(name) + 1 if name else 0 for name in each] for each in names]
    return torch.tensor(numbers, dtype=torch.long, device=device).view(-1, 2)


class Ranked(NamedTuple):
    """A candidate (the id or title given), its score, and its position in the input, from 0."""

    candidate: str
    score: float
    place: int


class Batch(NamedTuple):
    """Users' clicks and candidates, as rows of the articles' vectors."""

    vectors: Tensor  # [1 + articles, dim]; zeros in row 0
    categories: Tensor  # [1 + articles, 2], as ``category_ids``
    histories: Tensor  # [users, history_length], newest last, 0 in front
    candidates: Tensor  # [candidates], user by user
    sizes: Tensor  # [users], their numbers of candidates
    pages: Tensor | None = None  # [users], the articles whose pages they are on, 0 for none


class Engine(ABC):
    """Vectors, and scores as dot products of a user's and an article's; thread-safe.

    ``identity``: digest of everything that affects a vector; ``counting``: counters that scores may
    use; ``user_encoder``: the package's, which weighs clicks, if it has that; ``multiplies``:
    whether text scores are such dot products; ``adds``: whether counters add to them alone;
    ``reads``: names of the fields of an article.
    """

    multiplies = adds = True
    counting: Counting | None = None
    user_encoder: UserEncoder | None = None
    device = torch.device("cpu")

    def __init__(self, settings: Mapping[str, Any], identity: str) -> None:
        self.settings, self.identity = settings, identity
        views = settings.get("views") or [TITLE]  # an export has none: it reads titles
        joined = [ABSTRACT] if TITLE in views and settings["news_text"] == TITLE_ABSTRACT else []
        self.reads = tuple(dict.fromkeys([*views, *joined]))

    @abstractmethod
    def encode(self, columns: Mapping[str, Sequence[str]]) -> Tensor:
        """Vectors of articles, ``[articles, dim]``, float32, from columns of what it ``reads``."""

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

    def is_sum(self, counters: Tensor | None) -> bool:
        """Whether scores are these products plus the term of counters, if any."""
        return self.multiplies if counters is None else self.adds

    def scores(self, batch: Batch, counters: Tensor | None = None) -> Tensor:
        """Scores of all users' candidates, ``[candidates]``.

        ``counters``: ``[candidates, features]`` by ``counting`` (``None``: text scores).
        """
        users = self.user_vectors(batch.vectors, batch.histories)
        users, news = users.repeat_interleave(batch.sizes, 0), batch.vectors[batch.candidates]
        return self.total_scores((news * users).sum(-1), users, news, counters)

    def all_scores(
        self,
        batch: Batch,
        vectors: Tensor,
        categories: Tensor,
        counters: Tensor | None = None,
        pages: Tensor | None = None,
    ) -> Tensor:
        """Scores of all articles, ``[articles, dim]``, for all users, ``[users, articles]``.

        ``categories``: ``[articles, 2]``; ``counters``: ``[users * articles, features]``;
        ``pages``: as in ``batch``, but rows of ``vectors``, -1 for none.
        """
        if not self.is_sum(counters):
            readers, articles, first = len(batch.histories), len(vectors), len(batch.vectors)
            rows = torch.arange(articles, device=vectors.device) + first
            shown = Batch(
                torch.cat([batch.vectors, vectors]),
                torch.cat([batch.categories, categories]),
                batch.histories,
                rows.repeat(readers),
                torch.full((readers,), articles, device=vectors.device),
                None if pages is None else torch.where(pages < 0, 0, pages + first),
            )
            return self.scores(shown, counters).view(-1, articles)
        users = self.user_vectors(batch.vectors, batch.histories)
        text = users @ vectors.T
        if counters is not None:
            counters = counters.view(*text.shape, -1)
        return self.total_scores(text, users, vectors.expand(len(users), -1, -1), counters)


class ModelEngine(Engine):
    """Runs a trained recommender's own code, or what gives its scores faster (``engine_of``).

    Its ``predict`` scores what is no such sum. Its ``user_encoder`` reads shared rows faster.
    """

    def __init__(self, model: NewsRecommender, settings: Mapping[str, Any], identity: str) -> None:
        super().__init__(settings, identity)
        if model.make_texts is not None:
            self.reads = tuple(dict.fromkeys([*self.reads, *model.text_fields]))
        self.model, self.device = model.eval(), torch.device(settings["device"])
        encoder = model.user_encoder
        self.user_encoder = encoder if type(encoder) is UserEncoder else None
        self.counting = model.counting
        if isinstance(model.time, TimeScore):
            model.time.freeze()

    def encode(self, columns: Mapping[str, Sequence[str]]) -> Tensor:
        """Vectors of articles, ``[articles, dim]``, float32."""
        return self.model.news_encoder.encode_texts(columns).float()

    @torch.inference_mode()
    def user_vectors(self, vectors: Tensor, histories: Tensor) -> Tensor:
        """User vectors, ``[users, dim]``."""
        if self.user_encoder is not None:
            return self.user_encoder.of_rows(vectors, histories).float()
        return self.model.encode_user(vectors[histories], histories != 0).float()

    @torch.inference_mode()
    def total_scores(
        self, text: Tensor, users: Tensor, news: Tensor, counters: Tensor | None
    ) -> Tensor:
        """Text scores plus the term of counters, if any."""
        if counters is None:
            return text
        about = BatchContext(NO_IDS, NO_IDS, counters=counters)
        return self.model.total_scores(text, about, users, news)

    def scores(self, batch: Batch, counters: Tensor | None = None) -> Tensor:
        """Scores of each user's candidates, ``[candidates]``, as in evaluation."""
        scores = super().scores if self.is_sum(counters) else self.predicted
        return scores(batch, counters)

    @torch.inference_mode()
    def predicted(self, batch: Batch, counters: Tensor | None = None) -> Tensor:
        """``scores`` by the recommender's own ``predict``."""
        model, impressions = self._asked(batch, counters)
        return model.predict(impressions).float()

    @torch.inference_mode()
    def contributions(self, batch: Batch, counters: Tensor) -> Tensor | None:
        """What text, popularity, freshness and the reader add; ``None``: there is more."""
        model, impressions = self._asked(batch, counters)
        if not isinstance(model.time, TimeScore):
            return None
        text, context, *_ = model.match_impressions(impressions)
        parts = model.time.parts(text, context.counters)
        return parts if _close(parts.sum(-1), self.scores(batch, counters)) else None

    def _asked(self, batch: Batch, counters: Tensor | None) -> tuple[Any, Interaction]:
        """A copy of the model that looks news vectors up in a table, and impressions for it."""
        users = len(batch.histories)
        fields = {
            self.settings["USER_ID_FIELD"]: torch.zeros(users, dtype=torch.long),
            IMPRESSION: torch.arange(users),
            IMPRESSION_SIZE: batch.sizes,
            HISTORY: batch.histories,
            CANDIDATES: batch.candidates,
            CONTEXT_ARTICLE: torch.zeros_like(batch.sizes) if batch.pages is None else batch.pages,
            **({} if counters is None else {CANDIDATE_FEATURES: counters}),
        }
        model = copy.copy(self.model)  # its other modules are shared
        table = nn.Embedding.from_pretrained(batch.vectors)
        model._modules = {**model._modules, "news_encoder": table}
        if CATEGORY_BUFFER in model._buffers:
            model._buffers = {**model._buffers, CATEGORY_BUFFER: batch.categories}
        return model, Interaction(fields).to(self.device)


def engine_of(model: NewsRecommender, settings: Mapping[str, Any], identity: str) -> ModelEngine:
    """The fastest engine that scores a few random articles as the recommender itself does.

    Raises ``ValueError`` if the recommender cannot encode given articles.
    """
    engine = ModelEngine(model, settings, identity)
    no_articles = engine.encode({name: [] for name in engine.reads})
    batch = _random_batch(no_articles, min(settings["history_length"], LONGEST_HISTORY))
    readers = engine.user_vectors(batch.vectors, batch.histories)
    engine.user_encoder, of_encoder = None, engine.user_encoder
    if _close(readers, engine.user_vectors(batch.vectors, batch.histories)):
        engine.user_encoder = of_encoder
    engine.multiplies = _close(engine.scores(batch), engine.predicted(batch))
    engine.adds = engine.multiplies and not model.reads_reader
    if engine.adds and (counting := model.counting) is not None:
        counters = torch.rand(len(batch.candidates), counting.size, generator=_draws())
        counters = LARGEST_COUNTER * counters.to(batch.vectors.device)
        engine.adds = _close(engine.scores(batch, counters), engine.predicted(batch, counters))
    return engine


def _draws() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _random_batch(no_articles: Tensor, history_length: int) -> Batch:
    """Users with a whole history, with one click and with none, and a page for one of them."""
    device, dim = no_articles.device, no_articles.shape[-1]
    vectors = torch.randn(1 + ARTICLES, dim, generator=_draws())  # of no particular length
    vectors[0] = 0
    histories = 1 + torch.arange(3 * history_length).view(3, -1) % ARTICLES
    histories[1, :-1] = 0
    histories[2] = 0
    candidates, sizes = torch.arange(1, 1 + ARTICLES), torch.tensor([3, ARTICLES - 4, 1])
    categories = torch.zeros(1 + ARTICLES, len(CATEGORIES), dtype=torch.long)
    parts = vectors, categories, histories, candidates, sizes, torch.tensor([2, 0, 0])
    return Batch(*(part.to(device) for part in parts))


def _close(scores: Tensor, others: Tensor) -> bool:
    """Whether all differences are roundings; damaged weights give NaN in both."""
    apart, largest = (scores - others).abs().nan_to_num(0), others.abs().nan_to_num(0)
    same_nan = torch.equal(scores.isnan(), others.isnan())
    return same_nan and bool(apart.max() <= TOLERANCE * largest.max())


def best_first(names: list[str], scores: NDArray[np.float32]) -> list[Ranked]:
    """Sort candidates by score, ties in the given order; ``ValueError`` for NaN."""
    if np.isnan(scores).any():
        raise ValueError(NOT_A_NUMBER.format(names[int(np.isnan(scores).argmax())]))
    order = np.argsort(-scores, kind="stable")
    places = order.tolist()
    return [*map(Ranked, map(names.__getitem__, places), scores[order].tolist(), places)]


def best_rows(
    scores: NDArray[np.float32], k: int, left_out: Sequence[Sequence[int]]
) -> list[NDArray[np.int64]]:
    """Each user's best rows, best first, the first of equal ones; overwrites ``scores``."""
    best = []
    for user, rows in zip(scores, left_out, strict=True):
        user[list(rows)] = -np.inf
        few = min(k, len(user) - len(set(rows)))
        # all scores from the k-th up, since a partition breaks ties arbitrarily
        least = np.partition(user, len(user) - few)[len(user) - few] if few > 0 else np.inf
        reach = np.flatnonzero(user >= least)
        best.append(reach[np.argsort(-user[reach], kind="stable")[:few]])
    return best
