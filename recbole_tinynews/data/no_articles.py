"""An empty data set, to build a recommender for its saved weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.files.columns import PADDING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class NoArticles:
    """A data set without articles, but with the names of categories by field, in id order."""

    cache_dir = None  # serving writes nothing

    def __init__(
        self,
        iid_field: str,
        categories: Mapping[str, Sequence[str]],
        word_tokenizer: Callable[[], PreTrainedTokenizerBase],
    ) -> None:
        self.iid_field, self._word_tokenizer = iid_field, word_tokenizer
        self.field2id_token = {field: [PADDING, *names] for field, names in categories.items()}
        self.item_feat: dict[str, Tensor] = {
            field: torch.zeros(1, dtype=torch.long) for field in categories
        }

    def tokens(
        self, field: str, tokenizer: PreTrainedTokenizerBase, max_length: int, prefix: str = ""
    ) -> Ragged:
        """Only the row of padding."""
        return Ragged.from_rows([[]], np.int32)

    def made_of_texts(self, fields: tuple[str, ...], make: Any) -> PreTrainedTokenizerBase:
        """The saved word tokenizer, which was made of the training texts."""
        return self._word_tokenizer()

    def num(self, field: str) -> int:
        """1 for articles; number of categories including padding."""
        if field == self.iid_field:
            return 1
        if field not in self.field2id_token:
            raise ValueError(_not_saved(f"the field '{field}'"))
        return len(self.field2id_token[field])

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(_not_saved(f"'{name}'"))


def _not_saved(requested: str) -> str:
    return (
        "A recommender loaded for ranking has no data set but the names of its categories, yet "
        f"asks for {requested}. If an earlier version trained it, rerun its command with --fresh; "
        "otherwise build it with its data set: pipeline.run.Run(factory).model(stage)."
    )
