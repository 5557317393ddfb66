"""News encoders: news ids in, vectors out, each article encoded once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.encoder.frozen_states import Storage
from recbole_tinynews.encoder.hidden_states import StateRecorder, StateRequest
from recbole_tinynews.encoder.packing import ArticlePlanner, EncodingPlan, Pack
from recbole_tinynews.encoder.vector_cache import CurrentVectors, StaleVectors

NEWS_ENCODER = "news_encoder"
TOKENS_AT_ONCE = 4_096

_numbers = itertools.count()  # of encoders; a plan belongs to one


class NewsEncoder(nn.Module):
    """News ids in, vectors out: the base of news encoders.

    A subclass implements ``encode_distinct`` and ``encode_texts``. ``tokens`` are the token ids of
    each article (row 0 is padding and empty), or their numbers without values; ``put_articles``
    brings them, which no finished recommender needs to encode given texts.

    Repeats in a batch are encoded once, so they share a dropout mask; in evaluation, vectors are
    cached until a weight changes. For ``history_cache_steps`` training steps, a clicked article's
    vector may be reused without a gradient (SpeedyFeed, Xiao et al., KDD 2022); 0 is exact.
    """

    def __init__(self, tokens: Ragged | None = None, history_cache_steps: int = 0) -> None:
        super().__init__()
        self.tokens = Ragged.from_rows([[]], np.int32) if tokens is None else tokens
        self._number = next(_numbers)
        self._plan: EncodingPlan | None = None
        self._cache, self.stale_vectors = CurrentVectors(), StaleVectors(history_cache_steps)

    def put_articles(
        self, articles: Mapping[str, Ragged | Tensor], storage: Storage | None = None
    ) -> None:
        """Take a data set's articles, by id: token ids of texts, ids of categories, by view.

        ``storage``: where a language model's frozen layers store their output, if anywhere.
        """
        self.tokens = next(each for each in articles.values() if isinstance(each, Ragged))

    def encode_distinct(self, ids: NDArray[np.int64]) -> Tensor:
        """Vectors of distinct ids, ``[ids, news_dim]``, computed now; zeros for empty texts."""
        raise NotImplementedError

    def encode_texts(self, columns: Mapping[str, Sequence[str]]) -> Tensor:
        """Vectors of articles outside the data set, ``[articles, news_dim]``, without gradients.

        Nothing is cached or changed, so threads may share the encoder. ``columns`` has one entry
        per article in those of ``title``, ``abstract``, ``body``, ``category`` and ``subcategory``
        that are read. A missing or unknown category counts as none; for a missing text, or an
        encoder that cannot do this, it raises ``ValueError``.
        """
        raise NotImplementedError

    def forward(self, news_ids: Tensor) -> Tensor:
        """News vectors, ``[*news_ids.shape, news_dim]``; ids may repeat, 0 is padding: zeros."""
        if not self.training and not torch.is_grad_enabled():
            cached = self._look_up(news_ids)
            if cached is not None:
                return cached
        plan = self._plan
        if plan is None or plan.encoder != self._number:  # none, or another encoder's
            ids = np.unique(news_ids.cpu().numpy()) if plan is None else plan.host_ids
            plan = self._plan_now(ids)
        stale = self.stale_vectors
        reuses = stale.fresh_ids is not None
        vectors = stale.encode(self, plan.host_ids) if reuses else self.follow(plan)
        return vectors[plan.find(news_ids)]

    def _look_up(self, news_ids: Tensor) -> Tensor | None:
        """Vectors from the cache, which encodes missing ones; ``None``: it cannot be used."""
        ids = None if self._plan is None else self._plan.host_ids
        return self._cache.look_up(self, news_ids, ids, self._is_shared)

    def planner(self, shared: bool = False) -> ArticlePlanner:
        """Planner for the encoder's current state; if ``shared``, each process encodes a part."""
        return ArticlePlanner(self._number)

    def follow(self, plan: EncodingPlan) -> Tensor:
        """Vectors of a plan's ids, ``[ids, news_dim]``."""
        return self.encode_distinct(plan.host_ids)

    @contextmanager
    def planned(self, plan: EncodingPlan | None) -> Iterator[None]:
        """Follow this plan, which holds all ids of the batch, without synchronising the device."""
        self._plan = plan
        try:
            yield
        finally:
            self._plan = None

    def _plan_now(self, ids: NDArray[np.int64]) -> EncodingPlan:
        return self.planner(self._is_shared).plan(ids).to(self.device)

    @property
    def _is_shared(self) -> bool:
        return self._plan is not None and self._plan.counts is not None

    @contextmanager
    def reusing_all_but(self, news_ids: Tensor) -> Iterator[None]:
        """Recompute only these ids in training, as far as ``history_cache_steps`` allows."""
        stale = self.stale_vectors
        if stale.steps:
            stale.fresh_ids = news_ids.cpu().numpy() if self._plan is None else self._plan.fresh
        try:
            yield
        finally:
            stale.fresh_ids = None

    def encode_ahead(
        self, ids: NDArray[np.int64], show_progress: bool = False, folder: Path | None = None
    ) -> None:
        """Encode distinct ids now and cache them until weights change, in ``folder`` if given."""
        self._cache.encode_ahead(self, ids, show_progress, folder)

    def train(self, mode: bool = True) -> NewsEncoder:
        """Set the mode; training mode drops the cached vectors of an evaluation."""
        super().train(mode)
        if mode:
            self._cache.forget()
        return self

    @property
    def device(self) -> torch.device:
        """The device of its weights."""
        return next(self.parameters(), torch.empty(0)).device

    # What the caches ask of an encoder

    def encode_pack(self, ids: NDArray[np.int64], pack: Pack) -> Tensor:
        """Vectors of the texts of a pack, in pack order, ``[texts, news_dim]``."""
        return self.encode_distinct(ids[pack.members])

    def zeros(self, texts: int) -> Tensor:
        """Vectors of empty texts, ``[texts, news_dim]``."""
        vectors = self.encode_distinct(np.zeros(1, np.int64))
        return vectors.new_zeros(texts, vectors.shape[-1])

    def tokens_at_once(self) -> int:
        """Number of tokens that are encoded together."""
        return TOKENS_AT_ONCE

    def content(self) -> Iterator[str | bytes] | None:
        """Everything that determines a vector; ``None``: unknown, so no run saves its vectors."""
        return None

    # Encoders within this one, which override these

    @property
    def _inner(self) -> list[NewsEncoder]:
        return [part for part in self.modules() if isinstance(part, NewsEncoder)][1:]

    def start_heads(self, ids: NDArray[np.int64], centred: bool) -> None:
        """Initialise heads that start from the vectors of distinct training texts, ``ids``."""
        for encoder in self._inner:
            encoder.start_heads(ids, centred)

    @contextmanager
    def without_tables(self) -> Iterator[None]:
        """Compute every layer, as for an article never seen before."""
        with ExitStack() as stack:
            for encoder in self._inner:
                stack.enter_context(encoder.without_tables())
            yield

    def close_table(self) -> None:
        """Free the tables of frozen layers' states, which are reopened when needed."""
        for encoder in self._inner:
            encoder.close_table()

    # Hidden states

    def record_states(self, request: StateRequest) -> AbstractContextManager[StateRecorder]:
        """Collect hidden states of everything encoded; ``ValueError`` if there are none."""
        raise ValueError(
            f"A loss on hidden states expects one language model whose layers can be observed, got "
            f"{type(self).__name__}. Set news_encoder=plm and views=[title], or the loss's weight "
            "to 0."
        )

    def record_ahead(
        self,
        ids: NDArray[np.int64],
        request: StateRequest,
        share: float,
        show_progress: bool = False,
    ) -> None:
        """Compute hidden states of these ids for evaluation, if they fit this share of memory."""
