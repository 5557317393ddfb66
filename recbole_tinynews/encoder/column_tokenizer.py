"""Tokenises articles outside the data set in the same way as those in it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.data.news_text import TITLE_ABSTRACT, tokenise, with_abstract
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.files.columns import ABSTRACT, TITLE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class ColumnTokenizer:
    """Token ids of one text of articles, from columns of texts; threads may share it.

    ``field`` is a column, or ``title_abstract``: the title, then any abstract. ``max_length``
    includes special tokens; ``prefix`` is prepended; shorter texts are padded to ``pad_to``.
    """

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
        tokens = tokenise(texts, self._tokenizer, self.max_length, prefix=self.prefix)
        if not self.pad_to:
            return tokens
        return pad_rows(tokens, np.full(tokens.rows, self.pad_to), self.pad_token_id)

    def _texts(self, columns: Mapping[str, Sequence[str]]) -> Sequence[str]:
        name = TITLE if self.field == TITLE_ABSTRACT else self.field
        if name not in columns:
            raise ValueError(
                f"encode_texts expects a column '{name}', got {', '.join(columns) or 'none'}. "
                "Pass a text for each article; it may be empty."
            )
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
