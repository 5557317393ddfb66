"""The news encoder: news ids in, news vectors out.

Every optimization is exact: repeats are encoded once, no padding is computed, frozen layers are
read from a table (``frozen_states``), and at evaluation each article is encoded once
(``news_vectors``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.encoder.cached_encoder import OneTextEncoder
from recbole_tinynews.encoder.column_tokenizer import ColumnTokenizer
from recbole_tinynews.encoder.device import on_device
from recbole_tinynews.encoder.frozen_states import FrozenStates, Storage, open_frozen_states
from recbole_tinynews.encoder.known_states import KnownStates
from recbole_tinynews.encoder.news_vectors import versions
from recbole_tinynews.encoder.packing import Pack, PackedTexts
from recbole_tinynews.encoder.planning import EncodingPlan, PlannedPack, Planner
from recbole_tinynews.encoder.states import States, Tap, Taps
from recbole_tinynews.encoder.text_encoder import EncodedTexts, TextEncoder
from recbole_tinynews.files.array_cache import content_key
from recbole_tinynews.processes.group import ALONE, process_group

STATES_FORMAT = "frozen states 1"  # raised whenever the meaning of the stored states changes


class NewsEncoder(OneTextEncoder):
    """A language model with the text of each news id, and with access to its layers and states.

    Args:
        text_encoder: turns tokens into vectors.
        tokens: token ids of each text, by id; row 0 is empty. Where a row holds pad tokens (only
            a text encoder with ``mask_padding=False`` has such rows) attention leaves them out.
        storage: where the frozen layers' states are kept; ``None``: computed each time.
        history_cache_steps: as in ``CachedEncoder``.
        tokenizer: as in ``OneTextEncoder``.
    """

    def __init__(
        self,
        text_encoder: TextEncoder,
        tokens: Ragged,
        storage: Storage | None = None,
        history_cache_steps: int = 0,
        tokenizer: ColumnTokenizer | None = None,
    ) -> None:
        super().__init__(tokens, history_cache_steps, tokenizer)
        self.text_encoder, self.storage = text_encoder, storage
        self._tap: Tap | None = None

    # --------------------------------------------------------- properties of its text encoder

    def _remember_none_but(self, tokens: Ragged) -> None:
        super()._remember_none_but(tokens)
        self._known_states: tuple[KnownStates, tuple[int, ...]] | None = None
        self._states: FrozenStates | None = None
        self._states_of: tuple[int, ...] = ()

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

    def _pooled(self, pack: PlannedPack) -> Tensor:
        return self._encode(pack).pooled

    # ------------------------------------------------------------------------- ids -> vectors

    def _looked_up(self, news_ids: Tensor) -> Tensor | None:
        """Vectors that are kept from earlier, and states if those of all ids are."""
        if self._tap is None:
            return super()._looked_up(news_ids)
        states = self._states_of_texts(news_ids, self._tap.taps)
        if states is None:
            return None
        self._tap.keep_states(states)
        with self._untapped():  # a vector that is missing brings other texts with it
            return super()._looked_up(news_ids)

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
            process_group() if shared else ALONE,
        )

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

    def encode_pack(self, ids: NDArray[np.int64], pack: Pack) -> Tensor:
        """Vectors of the texts of a pack, in its order, ``[texts, news_dim]``."""
        return self._encode(self.planner().pack(ids, pack).to(self.text_encoder.device)).vectors

    def follow(self, plan: EncodingPlan) -> Tensor:
        """Vectors of the ids of a plan, ``[ids, news_dim]``."""
        return plan.joined([self._encode(pack).vectors for pack in plan.packs], self.zeros)

    def _encode_texts(self, texts: PackedTexts) -> Tensor:
        return self.text_encoder.encode(texts).vectors

    def _encode(self, pack: PlannedPack) -> EncodedTexts:
        encoded = self.text_encoder.encode(pack.texts, self._stored(pack), self._tap)
        if self._tap is not None:
            self._tap.keep_texts(pack.ids, encoded.pooled, encoded.vectors)
        return encoded

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
