"""The news encoder of a language model, with the output of frozen layers stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.encoder.cached_encoder import OneTextEncoder
from recbole_tinynews.encoder.column_tokenizer import ColumnTokenizer
from recbole_tinynews.encoder.frozen_states import FrozenStates, Storage, open_frozen_states
from recbole_tinynews.encoder.known_states import KnownStates
from recbole_tinynews.encoder.news_vectors import versions
from recbole_tinynews.encoder.packing import Pack, PackedTexts
from recbole_tinynews.encoder.planning import PlannedPack, Planner
from recbole_tinynews.encoder.states import States, Tap, Taps
from recbole_tinynews.encoder.text_encoder import EncodedTexts, TextEncoder
from recbole_tinynews.files.array_cache import content_key
from recbole_tinynews.processes.device import has_bf16_products, on_device

NEWS_ENCODER = "news_encoder"
LANGUAGE_MODEL = f"{NEWS_ENCODER}.text_encoder.plm"
POOLING = f"{NEWS_ENCODER}.text_encoder.pooling"
DENSE = f"{NEWS_ENCODER}.text_encoder.dense"


STATES_FORMAT = "frozen states 1"  # bump when the meaning of stored states changes


class NewsEncoder(OneTextEncoder):
    """Encodes one text per article with a language model, giving access to its layers and states.

    Row 0 of ``tokens`` is empty; pad tokens, which occur only with ``mask_padding=False``, are not
    attended to. Without ``storage``, frozen layers are computed each time.
    """

    def __init__(
        self,
        text_encoder: TextEncoder,
        tokens: Ragged,
        storage: Storage | None = None,
        history_cache_steps: int = 0,
        tokenizer: ColumnTokenizer | None = None,
    ) -> None:
        super().__init__(text_encoder, tokens, history_cache_steps, tokenizer)
        self.text_encoder: TextEncoder
        self.storage = storage
        self._tap: Tap | None = None
        self._known_states: tuple[KnownStates, tuple[int, ...]] | None = None
        self._states: FrozenStates | None = None
        self._states_of: tuple[int, ...] = ()

    def planner(self, shared: bool = False) -> Planner:
        """Planner for the encoder's current state, with rows of its table."""
        planner, states = super().planner(shared), self._stored_states()
        if states is not None:
            planner.stored = states.layout
            planner.table_on_host = states.table.device != self.device
        return planner

    def _encode(self, texts: PackedTexts) -> Tensor:
        return self.text_encoder.encode(texts).vectors

    def _encode_pack(self, pack: PlannedPack) -> Tensor:
        return self._encoded(pack).vectors

    def start_heads(self, ids: NDArray[np.int64], centred: bool) -> None:
        """Initialise the heads of each exit; see ``EncodesNews``."""
        for layers in self.text_encoder.exits:
            with self.text_encoder.encoding_at(layers):
                super().start_heads(ids, centred)

    def _pooled(self, pack: PlannedPack) -> Tensor:
        return self._encoded(pack).pooled

    def _encoded(self, pack: PlannedPack) -> EncodedTexts:
        encoded = self.text_encoder.encode(pack.texts, self._stored(pack), self._tap)
        if self._tap is not None:
            self._tap.keep_texts(pack.ids, encoded.pooled, encoded.vectors)
        return encoded

    def encode_pack(self, ids: NDArray[np.int64], pack: Pack) -> Tensor:
        """Vectors of the texts of a pack, in pack order, ``[texts, news_dim]``."""
        return self._encode_pack(self.planner().pack(ids, pack).to(self.device))

    def content(self) -> Iterator[str | bytes]:
        """Everything that determines a vector, for the key of a saved table of vectors."""
        yield str(self.text_encoder.compute_dtype())
        yield from self._states_content()
        yield from self.text_encoder.content()

    @contextmanager
    def tapped(self, taps: Taps) -> Iterator[Tap]:
        """Collect inner states, with gradients, of the distinct texts of each call."""
        self._tap = tap = Tap(taps)
        try:
            yield tap
        finally:
            self._tap = None

    def tap(self, ids: NDArray[np.int64], taps: Taps) -> States:
        """Inner states of distinct ids, shortest first."""
        with self.tapped(taps) as tap:
            self.encode_distinct(ids)
        return tap.states()

    def tap_ahead(
        self, ids: NDArray[np.int64], taps: Taps, share: float, show_progress: bool = False
    ) -> None:
        """Compute inner states of these ids for evaluation, if they fit this share of memory."""
        if (self.tokens.values != self.pad_token_id).all():  # states exclude pad tokens
            lengths = np.zeros_like(self.tokens.lengths)
            lengths[ids] = self.tokens.lengths[ids]
            how = lengths, self.tokens_at_once(), taps, share, show_progress
            known = KnownStates.compute(lambda some: self.tap(some, taps), *how)
            self._known_states = None if known is None else (known, versions(self.parameters()))

    def _looked_up(self, news_ids: Tensor) -> Tensor | None:
        """Cached vectors, and inner states if all ids have them."""
        if self._tap is None:
            return super()._looked_up(news_ids)
        tap = self._tap
        states = self._states_of_texts(news_ids, tap.taps)
        if states is None:
            return None
        tap.keep_states(states)
        self._tap = None  # a missing vector is encoded along with other texts
        try:
            return super()._looked_up(news_ids)
        finally:
            self._tap = tap

    def _states_of_texts(self, news_ids: Tensor, taps: Taps) -> States | None:
        if self._known_states is None:
            return None
        known, weights = self._known_states
        ids = np.unique(news_ids.cpu().numpy()) if self._plan is None else self._plan.own_ids
        fits = known.taps == taps and known.has(ids, self.tokens.lengths[ids])
        if not fits or weights != versions(self.parameters()):
            return None
        return known.states(ids, self.device)

    @contextmanager
    def without_tables(self) -> Iterator[None]:
        """Compute every layer, as for an article never seen before."""
        storage, self.storage = self.storage, None
        try:
            yield
        finally:
            self.storage = storage

    def close_table(self) -> None:
        """Free the table of frozen states, which is reopened when needed."""
        self._states, self._states_of = None, ()

    def _stored(self, pack: PlannedPack) -> Tensor | None:
        """Stored output of the frozen layers, ``[tokens, hidden]``, if it has these texts."""
        states = self._stored_states()
        if states is None or pack.rows is None:
            return None
        return on_device(states.rows(pack.rows), self.device)

    def _stored_states(self) -> FrozenStates | None:
        if self.storage is None or self.text_encoder.first_trained == 0:
            return None
        frozen = [p for part in self.text_encoder.frozen_modules for p in part.parameters()]
        weights = versions(frozen)
        if self._states_of != weights:
            self._states = open_frozen_states(
                self.storage,
                content_key(self._states_content()),
                self.tokens,
                self.text_encoder.hidden_size,
                self._compute_states,
                self.device,
            )
            self._states_of = weights
        return self._states

    def _states_content(self) -> Iterator[str | bytes]:
        yield STATES_FORMAT
        if self._computes_in_bf16():
            yield "computed in bf16"
        yield from self.text_encoder.frozen_content()
        yield self.tokens.values.tobytes()
        yield self.tokens.offsets.tobytes()

    def _computes_in_bf16(self) -> bool:
        """Whether states are stored in bf16, and so computed in it where that is fast."""
        rounds = self.storage is not None and self.storage.precision == "bf16"
        return rounds and has_bf16_products(self.device)

    def _compute_states(self, members: NDArray[np.int64], pack: Pack) -> Tensor:
        planner = super().planner()  # without the table, which is being built
        texts = planner.texts(members, pack).apply(lambda tensor: on_device(tensor, self.device))
        in_bf16 = self._computes_in_bf16()
        with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16, enabled=in_bf16):
            return self.text_encoder.encode_frozen(texts)
