"""News encoders: news ids in, vectors out, each article encoded once; caches of vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import chain
from operator import itemgetter
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tinynews.data.dataloader import BatchArticles
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.encoder.hidden_states import StateRecorder, StateRequest, Storage
from recbole_tinynews.encoder.packing import Pack, on_device, packs
from recbole_tinynews.encoder.text_encoder import versions
from recbole_tinynews.files.array_cache import content_key
from recbole_tinynews.files.progress import progress_bar
from recbole_tinynews.processes.group import gather_rows, process_group, shared_arrays

NEWS_ENCODER = "news_encoder"
TOKENS_AT_ONCE = 4_096
# on a CPU, which small packs keep busy: they encode few unneeded texts
LOOK_UP_TOKENS, LOOK_UP_SHARE = 128, 32  # at least, and of the tokens encoded together
# number of texts that each process encodes before vectors are gathered
TEXTS_IN_A_ROUND = 4_096


class CachedVectors:
    """A news encoder's vectors by id; a subclass decides which may be used again.

    The encoder is passed in and never stored.
    """

    def __init__(self) -> None:
        self._vectors: Tensor | None = None

    def forget(self) -> None:
        """Drop all vectors."""
        self._vectors = None

    def _begin(self, encoder: NewsEncoder, dtype: torch.dtype | None = None) -> Tensor:
        """Zeros for every article of the encoder."""
        zeros = encoder.zeros(encoder.tokens.rows)
        self._vectors = zeros if dtype is None else zeros.to(dtype)
        return self._vectors

    def _put(self, ids: NDArray[np.int64], vectors: Tensor) -> None:
        assert self._vectors is not None
        rows = _on_device_of(self._vectors, ids)
        self._vectors[rows] = vectors.to(self._vectors)

    def _take(self, ids: NDArray[np.int64]) -> Tensor:
        assert self._vectors is not None
        return self._vectors[_on_device_of(self._vectors, ids)]


class CurrentVectors(CachedVectors):
    """Vectors of one evaluation: valid until a weight changes."""

    def __init__(self) -> None:
        super().__init__()
        self._encoded = np.zeros(0, dtype=bool)
        self._weights: tuple[int, ...] = ()
        self._look_up_packs: tuple[list[Pack], NDArray[np.int64]] | None = None

    @torch.no_grad()
    def encode_ahead(
        self, encoder: NewsEncoder, ids: NDArray[np.int64], show_progress: bool, folder: Path | None
    ) -> None:
        """Encode distinct ids in large, fixed packs and cache them, in ``folder`` if given."""
        vectors, encoded = self._current(encoder)
        content = encoder.content()
        if encoded[ids].all():
            return
        if folder is None or content is None:
            _encode_all(encoder, ids, vectors, show_progress)
        else:

            def make() -> dict[str, NDArray]:
                table = torch.zeros_like(vectors)
                _encode_all(encoder, ids, table, show_progress)
                return {"vectors": table.cpu().numpy()}

            key = content_key(chain(content, [ids.tobytes()]))
            table = shared_arrays(folder, "news-vectors", key, make, writable=True)["vectors"]
            self._vectors = torch.from_numpy(table).to(vectors.device)
            encoded[:] = encoder.tokens.lengths == 0
        encoded[ids] = True

    def look_up(
        self,
        encoder: NewsEncoder,
        news_ids: Tensor,
        of_batch: NDArray[np.int64] | None = None,
    ) -> Tensor:
        """Vectors by id, in any shape; missing or outdated ones are encoded now.

        Packs are fixed: a vector's bits do not depend on other look-ups. ``of_batch`` are the ids
        of a whole batch, on the host, which all processes encode together.
        """
        vectors, encoded = self._current(encoder)
        ids = news_ids.cpu().numpy() if of_batch is None else of_batch
        missing = ids[~encoded[ids]]
        if len(missing):
            every_id = np.arange(encoder.tokens.rows)
            packed, pack_of = self._packs(encoder, vectors.device)
            needed = [packed[number] for number in np.unique(pack_of[missing])]

            def encode(pack: Pack) -> Tensor:
                return encoder.encode_pack(every_id, pack).to(vectors.dtype)

            none = vectors[:0]
            encoding = map(encode, needed) if of_batch is None else in_shares(needed, encode, none)
            for pack, made in zip(needed, encoding, strict=True):
                new = ~encoded[pack.members]  # keep what was encoded ahead
                self._put(pack.members[new], made[torch.from_numpy(new)])
                encoded[pack.members] = True
        return F.embedding(news_ids.to(vectors.device), vectors)

    def _current(self, encoder: NewsEncoder) -> tuple[Tensor, NDArray[np.bool_]]:
        weights = versions(encoder.parameters())
        if self._vectors is None or self._weights != weights:
            self._encoded, self._weights = encoder.tokens.lengths == 0, weights
            return self._begin(encoder), self._encoded
        return self._vectors, self._encoded

    def _packs(
        self, encoder: NewsEncoder, device: torch.device
    ) -> tuple[list[Pack], NDArray[np.int64]]:
        if self._look_up_packs is None:
            at_once = encoder.tokens_at_once()
            if device.type == "cpu":
                at_once = max(LOOK_UP_TOKENS, at_once // LOOK_UP_SHARE)
            packed = packs(encoder.tokens.lengths, at_once)
            pack_of = np.zeros(encoder.tokens.rows, dtype=np.int64)
            for number, pack in enumerate(packed):
                pack_of[pack.members] = number
            self._look_up_packs = packed, pack_of
        return self._look_up_packs


class StaleVectors(CachedVectors):
    """Vectors of the last ``steps`` training steps, without gradients (SpeedyFeed, KDD 2022).

    While ``fresh_ids`` are set, vectors of other ids may be reused; each ``encode`` is a step.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps, self.step = steps, 0
        self.fresh_ids: NDArray[np.int64] | None = None
        self._made_in = np.zeros(0, dtype=np.int64)  # step by id

    def encode(self, encoder: NewsEncoder, ids: NDArray[np.int64]) -> Tensor:
        """Vectors of distinct ids, ``[ids, news_dim]``."""
        if self._vectors is None:
            self._begin(encoder)
        assert self.fresh_ids is not None, "set before anything is reused"
        recent = self._made_in[ids] >= self.step - self.steps
        needed = np.isin(ids, self.fresh_ids) | ~recent
        encoded = encoder.encode_distinct(ids[needed])
        reused = self._take(ids[~needed]).to(encoded)
        order = np.append(np.flatnonzero(needed), np.flatnonzero(~needed)).argsort()
        vectors = torch.cat([encoded, reused])[_on_device_of(encoded, order)]
        self._put(ids[needed], encoded.detach())
        self._made_in[ids[needed]] = self.step
        self.step += 1
        return vectors

    def _begin(self, encoder: NewsEncoder, dtype: torch.dtype | None = None) -> Tensor:
        # too old to be reused
        self.step, self._made_in = 0, np.full(encoder.tokens.rows, -1 - self.steps)
        return super()._begin(encoder, dtype)

    def state(self) -> dict[str, Tensor]:
        """Vectors that may still be reused, with their ids and ages in steps."""
        if self._vectors is None:
            return {}
        ids = np.flatnonzero(self._made_in >= self.step - self.steps)
        ages = torch.from_numpy(self.step - self._made_in[ids])
        return {"ids": torch.from_numpy(ids), "ages": ages, "vectors": self._take(ids)}

    def restore(self, encoder: NewsEncoder, state: Mapping[str, Tensor]) -> None:
        """Restore a ``state`` of an encoder of the same texts."""
        self._begin(encoder, state["vectors"].dtype)
        ids = state["ids"].numpy()
        self._put(ids, state["vectors"])
        self._made_in[ids] = -state["ages"].numpy()


def in_shares(
    packed: Sequence[Pack], encode: Callable[[Pack], Tensor], none: Tensor
) -> Iterator[Tensor]:
    """Vectors of each pack, ``[texts, dim]``; all processes share the work and must exhaust it."""
    group = process_group()
    if group.alone:
        yield from map(encode, packed)
        return
    largest = max((len(pack.members) for pack in packed), default=1)
    step = group.size * max(1, TEXTS_IN_A_ROUND // largest)  # as many packs for each process
    for start in range(0, len(packed), step):
        yield from _one_round(packed[start : start + step], encode, none)


def _one_round(
    packed: Sequence[Pack], encode: Callable[[Pack], Tensor], none: Tensor
) -> Iterable[Tensor]:
    group = process_group()
    parts = [packed[rank :: group.size] for rank in range(group.size)]
    own = torch.cat([none, *map(encode, parts[group.rank])])
    rows = gather_rows(own, [sum(len(pack.members) for pack in part) for part in parts])
    order = [
        number for rank in range(group.size) for number in range(rank, len(packed), group.size)
    ]
    made = rows.split([len(packed[number].members) for number in order])
    return [part for _, part in sorted(zip(order, made, strict=True), key=itemgetter(0))]


def _encode_all(
    encoder: NewsEncoder, ids: NDArray[np.int64], vectors: Tensor, show_progress: bool
) -> None:
    lengths = encoder.tokens.lengths_of(ids)
    packed = packs(lengths, encoder.tokens_at_once())
    group = process_group()
    own = sum(int(lengths[pack.members].sum()) for pack in packed[group.rank :: group.size])
    with progress_bar(desc="Encode news", shown=show_progress, total=own, unit=" tokens") as bar:

        def encode(pack: Pack) -> Tensor:
            bar.update(int(lengths[pack.members].sum()))
            return encoder.encode_pack(ids, pack).to(vectors.dtype)

        for pack, made in zip(packed, in_shares(packed, encode, vectors[:0]), strict=True):
            vectors[_on_device_of(vectors, ids[pack.members])] = made


def _on_device_of(vectors: Tensor, ids: NDArray[np.int64]) -> Tensor:
    return on_device(torch.from_numpy(ids), vectors.device)


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
        ids = np.unique(news_ids.cpu().numpy()) if self._batch is None else self._batch.ids
        stale = self.stale_vectors if self.stale_vectors.fresh_ids is not None else None
        vectors = stale.encode(self, ids) if stale else self.encode_distinct(ids)
        return vectors[self._find(news_ids, ids)]

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
