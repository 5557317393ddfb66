"""The data set of a recommender that is built for saved weights: category names alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.files.columns import PADDING


class NoArticles:
    """No articles, the names of categories by field, in id order, and any word tokenizer."""

    cache_dir = None  # serving writes nothing

    def __init__(
        self, iid_field: str, categories: Mapping[str, Sequence[str]], word_tokenizer: Any
    ) -> None:
        self.iid_field, self._word_tokenizer = iid_field, word_tokenizer
        self.field2id_token = {field: [PADDING, *names] for field, names in categories.items()}
        self.item_feat = {field: torch.zeros(1, dtype=torch.long) for field in categories}

    def tokens(self, field: str, tokenizer: Any, max_length: int, prefix: str = "") -> Ragged:
        """Only the row of padding."""
        return Ragged.from_rows([[]], np.int32)

    def made_of_texts(self, fields: tuple[str, ...], make: Any) -> Any:
        """The saved word tokenizer, which was made of the training texts."""
        return self._word_tokenizer

    def num(self, field: str) -> int:
        """1 for articles; number of categories including padding."""
        return 1 if field == self.iid_field else len(self.field2id_token[field])

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            "A recommender loaded for ranking has no data set but the names of its categories, yet "
            f"asks for '{name}'. Build it with its data set: Run(factory).model(stage)."
        )
