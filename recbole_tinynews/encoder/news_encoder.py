"""News encoders: news ids in, vectors out, each article encoded once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recbole_tinynews.data.dataloader import BatchArticles
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.encoder.hidden_states import StateRecorder, StateRequest, Storage
from recbole_tinynews.encoder.packing import Pack
from recbole_tinynews.encoder.vector_cache import CurrentVectors, StaleVectors
from recbole_tinynews.processes.group import on_device

NEWS_ENCODER = "news_encoder"
TOKENS_AT_ONCE = 4_096


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
        self._batch: BatchArticles | None = None  # whose texts the processes share
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
        ids, stale = self._distinct(news_ids), self.stale_vectors
        reuses = stale.fresh_ids is not None
        vectors = stale.encode(self, ids) if reuses else self.encode_distinct(ids)
        return vectors[self._find(news_ids, ids)]

    def _distinct(self, news_ids: Tensor) -> NDArray[np.int64]:
        return np.unique(news_ids.cpu().numpy()) if self._batch is None else self._batch.ids

    def _find(self, news_ids: Tensor, ids: NDArray[np.int64]) -> Tensor:
        """Positions among ``ids``; ``RuntimeError`` if one is missing, delayed on a GPU."""
        known = on_device(torch.from_numpy(ids), self.device)
        places = torch.searchsorted(known, news_ids.contiguous()).clamp_(max=len(ids) - 1)
        torch._assert_async(
            (known[places] == news_ids).all(),
            "The news encoder expects news ids of the batch alone inside `of_batch`, got others. "
            "Encode those outside of it.",
        )
        return places

    def _look_up(self, news_ids: Tensor) -> Tensor | None:
        """Vectors from the cache, which encodes missing ones; ``None``: it cannot be used."""
        ids = None if self._batch is None else self._batch.ids
        return self._cache.look_up(self, news_ids, ids)

    @contextmanager
    def of_batch(self, articles: BatchArticles | None) -> Iterator[None]:
        """Encode these articles, without asking the device for ids; processes share the texts."""
        encoders, before = [self, *self._inner], self._batch
        for encoder in encoders:
            encoder._batch = articles
        try:
            yield
        finally:
            for encoder in encoders:
                encoder._batch = before

    def shares(self, ids: NDArray[np.int64]) -> dict[str, float]:
        """This process's shares of a batch's texts, real tokens and token pairs; {}: unknown."""
        return {}

    @contextmanager
    def reusing_all_but(self, news_ids: Tensor) -> Iterator[None]:
        """Recompute only these ids in training, as far as ``history_cache_steps`` allows."""
        stale = self.stale_vectors
        if stale.steps:
            stale.fresh_ids = news_ids.cpu().numpy() if self._batch is None else self._batch.fresh
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
        with self.of_batch(None):  # the processes share packs already
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

    def open_table(self) -> None:
        """Open the tables of frozen layers' states, which are built if they are missing."""
        for encoder in self._inner:
            encoder.open_table()

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
