"""News encoders that map news ids to vectors and encode each article once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.encoder.column_tokenizer import ColumnTokenizer
from recbole_tinynews.encoder.news_vectors import (
    NewsVectors,
    RecentVectors,
    RememberedEncoder,
    in_shares,
)
from recbole_tinynews.encoder.packing import Pack, PackedTexts, packs
from recbole_tinynews.encoder.planning import ArticlePlanner, EncodingPlan, PlannedPack, Planner
from recbole_tinynews.processes.group import ALONE, process_group

_numbers = itertools.count()  # of encoders; a plan belongs to one
NO_ENCODER = -1


class CachedEncoder(RememberedEncoder):
    """Base class of news encoders that plan their batches and cache vectors.

    Repeats in a batch are encoded once, so they share a dropout mask; in evaluation each article is
    encoded once. For ``history_cache_steps`` training steps, a clicked article's vector may be
    reused without a gradient (SpeedyFeed, Xiao et al., KDD 2022); 0 is exact. ``text_encoder`` is
    that of its first text.
    """

    text_encoder: Any

    def __init__(self, tokens: Ragged, history_cache_steps: int = 0) -> None:
        super().__init__()
        self.tokens, self._number = tokens, next(_numbers)
        self._plan: EncodingPlan | None = None
        self._vectors, self.recent = NewsVectors(), RecentVectors(history_cache_steps)

    def planner(self, shared: bool = False) -> ArticlePlanner:
        """Planner for the encoder's current state; if ``shared``, each process encodes a part."""
        raise NotImplementedError

    def follow(self, plan: EncodingPlan) -> Tensor:
        """Vectors of a plan's ids, ``[ids, news_dim]``; zeros for empty texts."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        """The device of its weights."""
        return self.text_encoder.device

    @property
    def pad_token_id(self) -> int:
        """The token that pads texts."""
        return self.text_encoder.pad_token_id

    def tokens_at_once(self) -> int:
        """Number of tokens that are encoded together."""
        return self.text_encoder.tokens_at_once()

    def train(self, mode: bool = True) -> CachedEncoder:
        """Set the mode; training mode drops the cached vectors of an evaluation."""
        super().train(mode)
        if mode:
            self._vectors.forget()
        return self

    def forward(self, news_ids: Tensor) -> Tensor:
        """News vectors, ``[*news_ids.shape, news_dim]``."""
        if not self.training and not torch.is_grad_enabled():
            known = self._looked_up(news_ids)
            if known is not None:
                return known
        plan = self._plan_of(news_ids)
        recent = self.recent
        vectors = recent.encode(self, plan.host_ids) if recent.used else self.follow(plan)
        return vectors[plan.find(news_ids)]

    def _looked_up(self, news_ids: Tensor) -> Tensor | None:
        """Vectors from the cache, which encodes missing ones; ``None``: it cannot be used."""
        known = None if self._plan is None else self._plan.host_ids
        return self._vectors.look_up(self, news_ids, known, self._is_shared)

    def encode_distinct(self, ids: NDArray[np.int64]) -> Tensor:
        """Vectors of distinct ids, ``[ids, news_dim]``; zeros for empty texts."""
        return self.follow(self._plan_now(ids))

    def encode_pack(self, ids: NDArray[np.int64], pack: Pack) -> Tensor:
        """Vectors of the texts of a pack, in pack order, ``[texts, news_dim]``."""
        return self.follow(self.planner().plan(ids[pack.members]).to(self.device))

    def encode_ahead(
        self, ids: NDArray[np.int64], show_progress: bool = False, folder: Path | None = None
    ) -> None:
        """Encode distinct ids now and cache them until weights change; see ``NewsVectors``."""
        self._vectors.encode_ahead(self, ids, show_progress, folder)

    @contextmanager
    def planned(self, plan: EncodingPlan | None) -> Iterator[None]:
        """Follow this plan, which holds all ids of the batch, without synchronising the device."""
        self._plan = plan
        try:
            yield
        finally:
            self._plan = None

    def _plan_of(self, news_ids: Tensor) -> EncodingPlan:
        if self._plan is not None and self._plan.encoder == self._number:
            return self._plan
        ids = np.unique(news_ids.cpu().numpy()) if self._plan is None else self._plan.host_ids
        return self._plan_now(ids)

    def _plan_now(self, ids: NDArray[np.int64]) -> EncodingPlan:
        return self.planner(self._is_shared).plan(ids).to(self.device)

    @property
    def _is_shared(self) -> bool:
        return self._plan is not None and self._plan.counts is not None

    def reusing_all_but(self, news_ids: Tensor) -> AbstractContextManager[None]:
        """Recompute only these ids in training, as far as ``history_cache_steps`` allows."""
        return self.recent.reusing_all_but(news_ids, self._plan)


class OneTextEncoder(CachedEncoder):
    """Encodes articles with one text each; without a tokenizer, none outside the data set."""

    def __init__(
        self,
        text_encoder: nn.Module,
        tokens: Ragged,
        history_cache_steps: int = 0,
        tokenizer: ColumnTokenizer | None = None,
    ) -> None:
        super().__init__(tokens, history_cache_steps)
        self.text_encoder: Any = text_encoder
        self._tokenizer = tokenizer

    def planner(self, shared: bool = False) -> Planner:
        """Planner for the encoder's current state."""
        group = process_group() if shared else ALONE
        at_once = self.tokens_at_once()
        return Planner(self._number, self.tokens, self.pad_token_id, at_once, group)

    def follow(self, plan: EncodingPlan) -> Tensor:
        """Vectors of a plan's ids, ``[ids, news_dim]``."""
        return plan.joined([self._encode_pack(pack) for pack in plan.packs], self.zeros)

    def _encode_pack(self, pack: PlannedPack) -> Tensor:
        return self._encode(pack.texts)

    def _encode(self, texts: PackedTexts) -> Tensor:
        return self.text_encoder.encode(texts)

    def tokenise(self, columns: Mapping[str, Sequence[str]]) -> Ragged:
        """Token ids of given articles, from row 1; ``ValueError`` if they cannot be read."""
        if self._tokenizer is None:
            raise ValueError(
                "encode_texts expects a recommender that reads columns of texts, got one that "
                "reads texts of its own. Override its column_tokenizer along with news_tokens."
            )
        return self._tokenizer(columns)

    @torch.no_grad()
    def encode_texts(self, columns: Mapping[str, Sequence[str]]) -> Tensor:
        """Vectors of given articles, ``[articles, news_dim]``; see ``EncodesNews``."""
        return self.encode_tokens(self.tokenise(columns))

    def encode_tokens(self, tokens: Ragged) -> Tensor:
        """Vectors of texts without ids, from row 1, ``[texts, news_dim]``."""
        planner = Planner(NO_ENCODER, tokens, self.pad_token_id, self.tokens_at_once())
        plan = planner.plan(np.arange(1, tokens.rows)).to(self.device)
        return plan.joined([self._encode(pack.texts) for pack in plan.packs], self.zeros)

    def zeros(self, texts: int) -> Tensor:
        """Vectors of empty texts, ``[texts, news_dim]``."""
        return self.text_encoder.zeros(texts)

    def content(self) -> Iterator[str | bytes]:
        """Everything that determines a vector, for the key of a saved table of vectors."""
        yield f"words {self.text_encoder.compute_dtype()}"
        yield self.tokens.values.tobytes()
        yield self.tokens.offsets.tobytes()
        yield from self.text_encoder.content()

    @contextmanager
    def without_dropout(self) -> Iterator[None]:
        """Encode without dropout or caching in training mode."""
        self.text_encoder.eval()
        try:
            yield
        finally:
            self.text_encoder.train(self.training)

    @torch.no_grad()
    def start_heads(self, ids: NDArray[np.int64], centred: bool) -> None:
        """Initialise a head that starts from pretrained vectors; see ``EncodesNews``."""
        dense = self.text_encoder.unit_dense
        if dense is None or dense.has_started:
            return
        planner = self.planner()

        def pooled_of(pack: Pack) -> Tensor:
            return self._pooled(planner.pack(ids, pack).to(self.device))

        packed = packs(self.tokens.lengths_of(ids), planner.tokens_at_once)
        with self.without_dropout():
            none = self.zeros(0).new_zeros(0, dense.in_features)
            dense.start(in_shares(packed, pooled_of, none), centred)

    def _pooled(self, pack: PlannedPack) -> Tensor:
        """Input of the head for the texts of a pack, ``[texts, in_features]``."""
        return self.text_encoder.mean(pack.texts)
