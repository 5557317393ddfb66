"""The news encoder: news ids in, news vectors out.

Every optimization is exact: repeats are encoded once, no padding is computed, frozen layers are
read from a table (``frozen_states``), and at evaluation each article is encoded once
(``news_vectors``).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.distillation.states import States, Taps
from recbole_tinynews.encoder.device import on_device
from recbole_tinynews.encoder.frozen_states import FrozenStates, Storage, open_frozen_states
from recbole_tinynews.encoder.known_states import KnownStates
from recbole_tinynews.encoder.news_vectors import (
    NewsVectors,
    RecentVectors,
    in_shares,
    versions,
)
from recbole_tinynews.encoder.packing import Pack, packs
from recbole_tinynews.encoder.planning import EncodingPlan, PlannedPack, Planner
from recbole_tinynews.encoder.pretrained_heads import UnitDense
from recbole_tinynews.encoder.taps import Tap
from recbole_tinynews.encoder.text_encoder import EncodedTexts, TextEncoder
from recbole_tinynews.files.array_cache import content_key
from recbole_tinynews.processes.gather import gather_rows
from recbole_tinynews.processes.group import ALONE, here

_numbers = itertools.count()  # of encoders: each plan belongs to one
STATES_FORMAT = "frozen states 1"  # raised whenever the meaning of the stored states changes


class NewsEncoder(nn.Module):
    """A text encoder with the text of each news id, and with caches of vectors.

    ``vectors = news_encoder(news_ids)``: any shape of ids, repeats welcome. Id 0 is padding and
    gives zeros. Repeats in a batch share one dropout mask. It implements ``protocol.EncodesNews``,
    and gives access to its layers and their inner states.

    Args:
        text_encoder: turns tokens into vectors.
        tokens: token ids of each text, by id; row 0 is empty. Where a row holds pad tokens (only
            a text encoder with ``mask_padding=False`` has such rows) attention leaves them out.
        storage: where the frozen layers' states are kept; ``None``: computed each time.
        history_cache_steps: number of training steps for which the vector of a clicked article may
            be reused, without a gradient (SpeedyFeed, Xiao et al., KDD 2022). 0: never, which is
            exact.
    """

    def __init__(
        self,
        text_encoder: TextEncoder,
        tokens: Ragged,
        storage: Storage | None = None,
        history_cache_steps: int = 0,
    ) -> None:
        super().__init__()
        self.text_encoder, self.storage = text_encoder, storage
        self.history_cache_steps = history_cache_steps
        self._given: Tensor | None = None
        self._plan: EncodingPlan | None = None
        self._tap: Tap | None = None
        self.tokens = tokens

    # --------------------------------------------------------- properties of its text encoder

    @property
    def tokens(self) -> Ragged:
        """Token ids of each text, by news id; row 0, of padding, is empty."""
        return self._tokens

    @tokens.setter
    def tokens(self, tokens: Ragged) -> None:
        """Read these texts from now on: whatever is remembered of others is dropped."""
        self._tokens, self._number = tokens, next(_numbers)
        self._vectors, self._recent = NewsVectors(), RecentVectors(self.history_cache_steps)
        self._known_states: tuple[KnownStates, tuple[int, ...]] | None = None
        self._states: FrozenStates | None = None
        self._states_of: tuple[int, ...] = ()

    @property
    def pad_token_id(self) -> int:
        """The token that pads texts."""
        return self.text_encoder.pad_token_id

    @property
    def hidden_size(self) -> int:
        """Size of a token's hidden state."""
        return self.text_encoder.hidden_size

    @property
    def layers(self) -> list[nn.Module]:
        """The layers of its language model, first to last."""
        return self.text_encoder.layers

    @property
    def depth(self) -> int:
        """Number of layers of its language model."""
        return self.text_encoder.depth

    @property
    def first_trained(self) -> int:
        """Number of frozen layers, which come before those that train."""
        return self.text_encoder.first_trained

    @property
    def embeddings_train(self) -> bool:
        """Whether the embeddings of its language model train."""
        return self.text_encoder.embeddings_train

    @property
    def heads(self) -> list[nn.Module]:
        """The parts after the language model: pooling, where it has weights, and dense layer."""
        return self.text_encoder.heads

    @property
    def pooling_has_weights(self) -> bool:
        """Whether it learns how to pool; ``mean`` and ``cls`` have nothing to learn."""
        return self.text_encoder.pooling is not None

    def share_heads_of(self, other: NewsEncoder) -> None:
        """Use the other encoder's pooling and dense layer: both encoders train the same weights."""
        self.text_encoder.share_heads_of(other.text_encoder)

    @contextmanager
    def without_dropout(self) -> Iterator[None]:
        """Inside, training mode encodes without dropout, and caches nothing."""
        self.text_encoder.eval()
        try:
            yield
        finally:
            self.text_encoder.train(self.training)

    def train(self, mode: bool = True) -> NewsEncoder:
        """Set the mode; training mode drops the cached vectors of an evaluation."""
        super().train(mode)
        if mode:
            self._vectors.forget()
        return self

    @torch.no_grad()
    def start_heads(self, ids: NDArray[np.int64], centred: bool) -> None:
        """Let heads that start from the language model's vectors take what they need of them.

        It does nothing for random heads, and for those that an earlier stage has handed over.

        Args:
            ids: distinct texts, those of training.
            centred: whether the mean of their vectors is subtracted from now on.
        """
        dense = self.text_encoder.dense
        if not isinstance(dense, UnitDense) or dense.has_started:
            return
        planner, device = self.planner(), self.text_encoder.device

        def pooled_of(pack: Pack) -> Tensor:
            return self._encode(planner.pack(ids, pack).to(device)).pooled

        packed = packs(self.tokens.lengths_of(ids), planner.tokens_at_once)
        with self.without_dropout():
            none = self.zeros(0).new_zeros(0, self.hidden_size)
            dense.start(in_shares(packed, pooled_of, none), centred)

    # ------------------------------------------------------------------------- ids -> vectors

    def forward(self, news_ids: Tensor) -> Tensor:
        """News vectors, ``[*news_ids.shape, news_dim]``."""
        if self._given is not None:
            return self._given[news_ids]
        if not self.training and not torch.is_grad_enabled():
            known = None if self._plan is None else self._plan.host_ids
            if self._tap is None:
                return self._vectors.look_up(self, news_ids, known, self._is_shared)
            states = self._states_of_texts(news_ids, self._tap.taps)
            if states is not None:
                self._tap.keep_states(states)
                with self._untapped():  # a vector that is missing brings other texts with it
                    return self._vectors.look_up(self, news_ids, known, self._is_shared)
        plan = self._plan_of(news_ids)
        if self._recent.used:
            vectors = self._recent.encode(self, plan.host_ids)
        else:
            vectors = self._follow(plan)
        return vectors[plan.find(news_ids)]

    @contextmanager
    def planned(self, plan: EncodingPlan | None) -> Iterator[None]:
        """Inside, all ids are those of this plan, and no device is asked which they are."""
        self._plan = plan
        try:
            yield
        finally:
            self._plan = None

    def planner(self, shared: bool = False) -> Planner:
        """Makes plans for this encoder as it is now: for its texts, its table and its precision.

        ``shared``: among all processes that train together, which follow each plan together.
        """
        states, device = self._stored_states(), self.text_encoder.device
        return Planner(
            self._number,
            self.tokens,
            self.pad_token_id,
            self.tokens_at_once(),
            None if states is None else (states.stored, states.layout),
            states is not None and states.table.device != device,
            here() if shared else ALONE,
        )

    def _plan_of(self, news_ids: Tensor) -> EncodingPlan:
        """The plan that was given, or, for want of it, one made now."""
        if self._plan is not None and self._plan.encoder == self._number:
            return self._plan
        ids = np.unique(news_ids.cpu().numpy()) if self._plan is None else self._plan.host_ids
        return self._plan_now(ids)

    def _plan_now(self, ids: NDArray[np.int64]) -> EncodingPlan:
        """A plan of distinct ids, shared among processes if these are part of a shared batch."""
        return self.planner(self._is_shared).plan(ids).to(self.text_encoder.device)

    @property
    def _is_shared(self) -> bool:
        """Whether the batch that is encoded is one of several processes."""
        return self._plan is not None and self._plan.counts is not None

    def reusing_all_but(self, news_ids: Tensor) -> AbstractContextManager[None]:
        """Inside, training recomputes only these ids, where ``history_cache_steps`` allows it."""
        return self._recent.reusing_all_but(news_ids, self._plan)

    def encode_ahead(
        self, ids: NDArray[np.int64], show_progress: bool = False, folder: Path | None = None
    ) -> None:
        """Encode distinct ids now, to be looked up until the weights change (``NewsVectors``)."""
        self._vectors.encode_ahead(self, ids, show_progress, folder)

    def tap_ahead(
        self, ids: NDArray[np.int64], taps: Taps, share: float, show_progress: bool = False
    ) -> None:
        """Compute inner states of distinct ids now, if they fit this share of the free memory.

        They are looked up in evaluation mode, without gradients, until the weights change.
        """
        if (self.tokens.values != self.pad_token_id).all():  # states leave pad tokens out
            known = KnownStates.compute(self, ids, taps, share, show_progress)
            self._known_states = None if known is None else (known, versions(self.parameters()))

    def tap(self, ids: NDArray[np.int64], taps: Taps) -> States:
        """Inner states of distinct ids, shortest first."""
        with self.tapped(taps) as tap:
            self.encode_distinct(ids)
        return tap.states()

    def _states_of_texts(self, news_ids: Tensor, taps: Taps) -> States | None:
        """The inner states of these ids, if all are known."""
        if self._known_states is None:
            return None
        known, weights = self._known_states
        ids = np.unique(news_ids.cpu().numpy()) if self._plan is None else self._plan.own_ids
        fits = known.taps == taps and known.has(ids, self.tokens.lengths[ids])
        if not fits or weights != versions(self.parameters()):
            return None
        return known.states(ids, self.text_encoder.device)

    @contextmanager
    def _untapped(self) -> Iterator[None]:
        tap, self._tap = self._tap, None
        try:
            yield
        finally:
            self._tap = tap

    def close_table(self) -> None:
        """Free the memory of the table of frozen states, which is opened again when needed."""
        self._states, self._states_of = None, ()

    @contextmanager
    def given(self, vectors: Tensor) -> Iterator[None]:
        """Inside, an id is a row of ``vectors`` ``[ids, news_dim]``, and nothing is encoded."""
        self._given = vectors
        try:
            yield
        finally:
            self._given = None

    @contextmanager
    def tapped(self, taps: Taps) -> Iterator[Tap]:
        """Inside, the tap collects the inner states of all that is encoded, with their gradients.

        Frozen layers are computed only as far as ``taps`` needs them, and otherwise read as always.
        Each call of the encoder adds its distinct texts; no vector is looked up.
        """
        self._tap = tap = Tap(taps)
        try:
            yield tap
        finally:
            self._tap = None

    @contextmanager
    def without_tables(self) -> Iterator[None]:
        """Compute every layer, as for an article never seen before."""
        storage, self.storage = self.storage, None
        try:
            yield
        finally:
            self.storage = storage

    def encode_distinct(self, ids: NDArray[np.int64]) -> Tensor:
        """Vectors of distinct ids, ``[ids, news_dim]``; zeros for those without any token."""
        return self._follow(self._plan_now(ids))

    def encode_pack(self, ids: NDArray[np.int64], pack: Pack) -> Tensor:
        """Vectors of the texts of a pack, in its order, ``[texts, news_dim]``."""
        return self._encode(self.planner().pack(ids, pack).to(self.text_encoder.device)).vectors

    def _follow(self, plan: EncodingPlan) -> Tensor:
        """Vectors of the ids of a plan, ``[ids, news_dim]``."""
        if not plan.packs:
            return self.zeros(len(plan.host_ids))
        encoded = torch.cat([self._encode(pack).vectors for pack in plan.packs])
        if plan.counts is not None:
            encoded = gather_rows(encoded, plan.counts)
        empty = encoded.new_zeros(len(plan.host_ids), encoded.shape[-1])
        return empty.index_copy(0, plan.places, encoded)

    def _encode(self, pack: PlannedPack) -> EncodedTexts:
        encoded = self.text_encoder.encode(pack.texts, self._stored(pack), self._tap)
        if self._tap is not None:
            self._tap.keep_texts(pack.ids, encoded.pooled, encoded.vectors)
        return encoded

    def zeros(self, texts: int) -> Tensor:
        """Vectors of that many empty texts, ``[texts, news_dim]``."""
        return self.text_encoder.zeros(texts)

    def tokens_at_once(self) -> int:
        """How many tokens pass through the language model together."""
        return self.text_encoder.tokens_at_once()

    def content(self) -> Iterator[str | bytes]:
        """All that decides a vector, for the key of a saved table of vectors."""
        yield str(self.text_encoder.compute_dtype())
        yield from self._states_content()
        yield from self.text_encoder.content()

    # -------------------------------------------------------------------------- frozen layers

    def _stored(self, pack: PlannedPack) -> Tensor | None:
        """Stored output of the frozen layers for these texts, ``[tokens, hidden]``, if any."""
        states = self._stored_states()
        if states is None or pack.rows is None:
            return None
        return on_device(states.rows(pack.rows), self.text_encoder.device)

    def _stored_states(self) -> FrozenStates | None:
        """The table for the frozen weights as they are now, or ``None`` where none is kept."""
        if self.storage is None or self.first_trained == 0:
            return None
        frozen = [p for part in self.text_encoder.frozen_modules for p in part.parameters()]
        weights = versions(frozen)
        if self._states_of != weights:
            self._states = open_frozen_states(
                self.storage,
                content_key(self._states_content()),
                self.tokens,
                self.hidden_size,
                self._compute_states,
                self.text_encoder.device,
            )
            self._states_of = weights
        return self._states

    def _states_content(self) -> Iterator[str | bytes]:
        yield STATES_FORMAT
        yield from self.text_encoder.frozen_content()
        yield self.tokens.values.tobytes()
        yield self.tokens.offsets.tobytes()

    def _compute_states(self, members: NDArray[np.int64], pack: Pack) -> Tensor:
        device = self.text_encoder.device
        planner = Planner(self._number, self.tokens, self.pad_token_id, self.tokens_at_once())
        texts = planner.texts(members, pack).apply(lambda tensor: on_device(tensor, device))
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            return self.text_encoder.encode_frozen(texts)
