"""The news encoder of articles with one text, with the output of frozen layers stored."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recbole_tinynews.data.news_text import TITLE_ABSTRACT, tokenise, with_abstract
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.encoder.hidden_states import (
    StateRecorder,
    StateRequest,
    StateTable,
    Storage,
    open_frozen_states,
)
from recbole_tinynews.encoder.news_encoder import NEWS_ENCODER, NewsEncoder, in_shares
from recbole_tinynews.encoder.packing import (
    Pack,
    PackedTexts,
    on_device,
    packed_texts,
    packs,
    share_texts,
)
from recbole_tinynews.encoder.pooling import fitted_projection
from recbole_tinynews.encoder.text_encoder import EncodedTexts, TextEncoder, TextVectors, versions
from recbole_tinynews.files.array_cache import content_key
from recbole_tinynews.files.columns import ABSTRACT, TITLE
from recbole_tinynews.processes.group import ALONE, gather_rows, has_bf16_products, process_group

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class ColumnTokenizer:
    """Token ids of one text of articles, of a data set or from columns; threads may share it.

    ``field`` is a column, or ``title_abstract``: the title, then any abstract. ``max_length``
    includes special tokens; ``prefix`` is prepended; shorter texts are padded to ``pad_to``.
    ``make`` makes the texts from the columns ``made_of`` instead.
    """

    make: Callable[[Mapping[str, Sequence[str]]], Sequence[str]] | None = None
    made_of: Sequence[str] = ()

    def __init__(
        self,
        field: str,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        prefix: str = "",
        pad_to: int = 0,
        pad_token_id: int = 0,
    ) -> None:
        self.field, self.max_length, self.prefix = field, max_length, prefix
        self.pad_to, self.pad_token_id = pad_to, pad_token_id
        self._shared_tokenizer = tokenizer

    def __call__(self, columns: Mapping[str, Sequence[str]]) -> Ragged:
        """Token ids of each article, from row 1; ``ValueError`` for missing or invalid texts."""
        texts = ["", *self._texts(columns)]
        return self._padded(tokenise(texts, self._tokenizer, self.max_length, prefix=self.prefix))

    def of_data_set(self, dataset: Any) -> Ragged:
        """Token ids of its articles, by news id."""
        if self.make is None:
            texts = dataset.texts(self.field)
        else:
            columns = {**dataset.news_text, **dataset.groups()}
            texts = ["", *self._texts({name: list(columns[name][1:]) for name in self.made_of})]
        how = self._shared_tokenizer, self.max_length, dataset.cache_dir, self.prefix
        return self._padded(tokenise(texts, *how))

    def _padded(self, tokens: Ragged) -> Ragged:
        if not self.pad_to:
            return tokens
        return pad_rows(tokens, np.full(tokens.rows, self.pad_to), self.pad_token_id)

    def _texts(self, columns: Mapping[str, Sequence[str]]) -> Sequence[str]:
        name = TITLE if self.field == TITLE_ABSTRACT else self.field
        names = [name] if self.make is None else self.made_of
        if missing := [each for each in names if each not in columns]:
            raise ValueError(
                f"encode_texts expects a column '{missing[0]}', got {', '.join(columns) or 'none'}."
                " Pass a text for each article; it may be empty."
            )
        if self.make is not None:
            texts, articles = self.make({n: columns[n] for n in names}), len(columns[names[0]])
            if len(texts) != articles:
                raise ValueError(
                    f"make_texts must return a text for each of {articles:,} articles, got "
                    f"{len(texts):,}."
                )
            return texts
        if self.field != TITLE_ABSTRACT or ABSTRACT not in columns:
            return columns[name]
        both = zip(columns[TITLE], columns[ABSTRACT], strict=True)
        return [with_abstract(*each) for each in both]

    @cached_property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        """A copy with fixed truncation: changing it fails while another thread tokenises."""
        own = copy.deepcopy(self._shared_tokenizer)
        own("", truncation=True, max_length=self.max_length)
        return own


def pad_rows(tokens: Ragged, widths: NDArray[np.int64], pad_token_id: int) -> Ragged:
    """Pad every text to its width, for pooling over pad tokens (docs/method.md, section 3).

    >>> pad_rows(Ragged.from_rows([[], [7], [8, 9]], int), np.array([2, 3, 2]), 0).values.tolist()
    [7, 0, 0, 8, 9]
    """
    lengths = np.where(tokens.lengths > 0, np.maximum(widths, tokens.lengths), 0)
    rows = np.repeat(np.arange(tokens.rows), lengths)
    starts = np.cumsum(lengths) - lengths
    filled = np.arange(len(rows)) - starts[rows] < tokens.lengths[rows]
    values = np.full(len(rows), pad_token_id, dtype=tokens.values.dtype)
    values[filled] = tokens.values
    return Ragged.from_lengths(values, lengths)


LANGUAGE_MODEL = f"{NEWS_ENCODER}.text_encoder.plm"
POOLING = f"{NEWS_ENCODER}.text_encoder.pooling"
DENSE = f"{NEWS_ENCODER}.text_encoder.dense"
STATES_FORMAT = "frozen states 2"  # bump when the meaning of stored states changes


class OneTextEncoder(NewsEncoder):
    """Encodes one text per article, with a language model or by word vectors.

    Row 0 of ``tokens`` is empty; pad tokens, which occur only with ``mask_padding=False``, are not
    attended to. Without a tokenizer it encodes no text outside the data set; without ``storage``,
    a language model's frozen layers are computed each time.
    """

    def __init__(
        self,
        text_encoder: TextVectors,
        tokens: Ragged | None = None,
        tokenizer: ColumnTokenizer | None = None,
        storage: Storage | None = None,
        history_cache_steps: int = 0,
    ) -> None:
        super().__init__(tokens, history_cache_steps)
        self.text_encoder, self.storage, self._tokenizer = text_encoder, storage, tokenizer
        self._recorder: StateRecorder | None = None
        self._frozen: tuple[StateTable | None, tuple[int, ...]] = None, ()

    def put_articles(
        self, articles: Mapping[str, Ragged | Tensor], storage: Storage | None = None
    ) -> None:
        """Take the token ids of a data set's articles."""
        super().put_articles(articles)
        self.storage = storage

    @property
    def language_model(self) -> TextEncoder:
        """Its text encoder, which has to be a language model's."""
        assert isinstance(self.text_encoder, TextEncoder), "word vectors have no layers"
        return self.text_encoder

    def encode_distinct(self, ids: NDArray[np.int64]) -> Tensor:
        """Vectors of distinct ids, ``[ids, news_dim]``, computed now; zeros for empty texts."""
        group = ALONE if self._batch is None else process_group()
        parts = share_texts(self.tokens.lengths_of(ids), group)
        places, own = np.concatenate(parts), parts[group.rank]
        if not len(own):  # all processes need the same autograd graph; its row is ignored
            own = places[:1]
        packed = packs(self.tokens.lengths_of(ids[own]), self.tokens_at_once())
        if not packed:
            return self.zeros(len(ids))
        encoded = torch.cat([self.encode_pack(ids[own], pack) for pack in packed])
        if not group.alone:
            encoded = gather_rows(encoded, [*map(len, parts)])
        return self._in_place(encoded, places, len(ids))

    def _in_place(self, encoded: Tensor, places: NDArray[np.int64], count: int) -> Tensor:
        """Vectors of ``count`` texts of which these are encoded; zeros for the others."""
        empty = encoded.new_zeros(count, encoded.shape[-1])
        return empty.index_copy(0, on_device(torch.from_numpy(places), empty.device), encoded)

    def shares(self, ids: NDArray[np.int64]) -> dict[str, float]:
        """This process's shares of a batch's texts, real tokens and token pairs."""
        group, rows = process_group(), self.tokens.take(ids)
        real = np.flatnonzero(rows.values != self.text_encoder.pad_token_id)
        tokens = np.bincount(rows.rows_of(real), minlength=rows.rows)
        parts = share_texts(rows.lengths, group)

        def counts(texts: NDArray[np.int64]) -> tuple[int, ...]:
            return len(texts), int(tokens[texts].sum()), int((tokens[texts] ** 2).sum())

        pairs = zip(counts(parts[group.rank]), counts(np.concatenate(parts)), strict=True)
        shares = [part / whole if whole else 0.0 for part, whole in pairs]
        return dict(zip(("texts", "tokens", "pairs"), shares, strict=True))

    def encode_pack(self, ids: NDArray[np.int64], pack: Pack) -> Tensor:
        """Vectors of the texts of a pack, in pack order, ``[texts, news_dim]``."""
        return self._encode(ids[pack.members], pack).vectors

    def _encode(self, members: NDArray[np.int64], pack: Pack) -> EncodedTexts:
        frozen, states = None, self._frozen_states()
        if states is not None and states.layout.lengths_of(members).all():
            frozen = states.rows(states.places(members), self.device)
        texts = self._texts(self.tokens, members, pack)
        encoded = self.text_encoder.encode(texts, frozen, self._recorder)
        if self._recorder is not None:
            self._recorder.add_texts(members, encoded.pooled, encoded.vectors)
        return encoded

    def _texts(self, tokens: Ragged, members: NDArray[np.int64], pack: Pack) -> PackedTexts:
        pad = self.text_encoder.pad_token_id
        return packed_texts(tokens, members, pack, pad, self.text_encoder.device)

    def tokenise(self, columns: Mapping[str, Sequence[str]]) -> Ragged:
        """Token ids of given articles, from row 1; ``ValueError`` if they cannot be read."""
        assert self._tokenizer is not None, "only encoders of a data set alone have none"
        return self._tokenizer(columns)

    @torch.no_grad()
    def encode_texts(self, columns: Mapping[str, Sequence[str]]) -> Tensor:
        """Vectors of given articles, ``[articles, news_dim]``."""
        return self.encode_tokens(self.tokenise(columns))

    def encode_tokens(self, tokens: Ragged) -> Tensor:
        """Vectors of texts without ids, from row 1, ``[texts, news_dim]``."""
        packed = packs(tokens.lengths[1:], self.tokens_at_once())
        if not packed:
            return self.zeros(tokens.rows - 1)
        texts = (self._texts(tokens, 1 + pack.members, pack) for pack in packed)
        encoded = torch.cat([self.text_encoder.encode(each).vectors for each in texts])
        places = np.concatenate([pack.members for pack in packed])
        return self._in_place(encoded, places, tokens.rows - 1)

    def zeros(self, texts: int) -> Tensor:
        """Vectors of empty texts, ``[texts, news_dim]``."""
        return self.text_encoder.zeros(texts)

    def tokens_at_once(self) -> int:
        """Number of tokens that are encoded together."""
        return self.text_encoder.tokens_at_once()

    def content(self) -> Iterator[str | bytes]:
        """Everything that determines a vector, for the key of a saved table of vectors."""
        yield f"{type(self.text_encoder).__name__} {self.text_encoder.compute_dtype()}"
        yield from self._tokens_content()
        yield from self.text_encoder.content()

    def _tokens_content(self) -> Iterator[str | bytes]:
        if self._computes_in_bf16():
            yield "computed in bf16"
        yield self.tokens.values.tobytes()
        yield self.tokens.offsets.tobytes()

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
        """Initialise its identity heads by the vectors of distinct training texts, ``ids``."""
        with self.without_dropout():
            for dense in self.text_encoder.identity_heads():
                if dense.centre.isnan().any():  # not started
                    dense.start((pooled for _, pooled in self.pooled(ids, dense)), centred)

    def pooled(
        self, ids: NDArray[np.int64], dense: nn.Linear
    ) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """Parts of distinct ids, and what this dense layer is given of their texts."""
        packed = packs(self.tokens.lengths_of(ids), self.tokens_at_once())

        def pooled_of(pack: Pack) -> Tensor:
            return self._encode(ids[pack.members], pack).pooled

        none = dense.weight.new_zeros(0, dense.in_features)
        for pack, made in zip(packed, in_shares(packed, pooled_of, none), strict=True):
            yield ids[pack.members], made

    @torch.no_grad()
    def fit_heads(self, ids: NDArray[np.int64], teacher: NewsEncoder) -> None:
        """Start its identity heads as the regression of a teacher's vectors of these ids."""
        with self.without_dropout():
            for dense in self.text_encoder.identity_heads():
                pairs = (
                    (teacher(torch.from_numpy(some).to(self.device)), pooled - dense.centre)
                    for some, pooled in self.pooled(ids, dense)
                )
                dense.weight.copy_(fitted_projection(pairs))

    # Hidden states: recorded on request, and those of frozen layers stored

    @contextmanager
    def record_states(self, request: StateRequest) -> Iterator[StateRecorder]:
        """Collect hidden states, with gradients, of the distinct texts of each call."""
        if not isinstance(self.text_encoder, TextEncoder):
            super().record_states(request)
        self._recorder = recorder = StateRecorder(request)
        try:
            yield recorder
        finally:
            self._recorder = None

    def _look_up(self, news_ids: Tensor) -> Tensor | None:
        """Cached vectors, which have no hidden states."""
        return super()._look_up(news_ids) if self._recorder is None else None

    @contextmanager
    def without_tables(self) -> Iterator[None]:
        """Compute every layer, as for an article never seen before."""
        storage, self.storage = self.storage, None
        try:
            yield
        finally:
            self.storage = storage

    def open_table(self) -> None:
        """Open the table of frozen states, which is built if it is missing."""
        self._frozen_states()

    def close_table(self) -> None:
        """Free the table of frozen states, which is reopened when needed."""
        self._frozen = None, ()

    def _frozen_states(self) -> StateTable | None:
        if self.storage is None or not self.text_encoder.first_trained:
            return None
        frozen, opened = self.language_model, self._frozen
        weights = versions(p for part in frozen.frozen_modules for p in part.parameters())
        if opened[1] != weights:
            content = chain([STATES_FORMAT], frozen.frozen_content())
            key = content_key(chain(content, self._tokens_content()))
            text = self.tokens, frozen.hidden_size, self._compute_frozen, self.device
            self._frozen = open_frozen_states(self.storage, key, *text), weights
        return self._frozen[0]

    def _computes_in_bf16(self) -> bool:
        """Whether states are stored in bf16, and so computed in it where that is fast."""
        rounds = self.storage is not None and self.storage.precision == "bf16"
        return rounds and has_bf16_products(self.device)

    def _compute_frozen(self, members: NDArray[np.int64], pack: Pack) -> Tensor:
        texts = self._texts(self.tokens, members, pack)
        in_bf16 = self._computes_in_bf16()
        with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16, enabled=in_bf16):
            return self.language_model.encode_frozen(texts)
