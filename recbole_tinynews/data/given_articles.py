"""Given articles as a data set, for a recommender that only ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from recbole_tinynews.data.news_text import TITLE_ABSTRACT, tokenise
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.files.columns import CATEGORIES, TITLE
from recbole_tinynews.settings.protocol import Settings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class GivenArticles:
    """A data set of articles only: ids ``1, 2, ...``; 0 is padding, as in ``NewsDataset``.

    Args:
        columns: texts and categories of the articles, by field. Where a recommender reads abstracts
            after titles, ``title`` has both (``with_abstract``).
        iid_field: name of the field of news ids.
        categories: ``category`` and ``subcategory`` names of the training data, with ids from 1;
            an unknown one has the id 0.
    """

    cache_dir = None  # serving writes nothing

    def __init__(
        self,
        columns: Mapping[str, Sequence[str]],
        iid_field: str,
        categories: Mapping[str, Sequence[str]],
    ) -> None:
        self.columns, self.iid_field, self.categories = columns, iid_field, categories

    def tokens(
        self, field: str, tokenizer: PreTrainedTokenizerBase, max_length: int, prefix: str = ""
    ) -> Ragged:
        """Token ids of a text of each article."""
        name = TITLE if field == TITLE_ABSTRACT else field
        if name in CATEGORIES or name not in self.columns:
            raise ValueError(_not_given(f"the text '{field}'"))
        return tokenise(["", *self.columns[name]], tokenizer, max_length, prefix=prefix)

    @cached_property
    def item_feat(self) -> dict[str, Tensor]:
        """The category of each article by its id, ``[1 + articles]``; 0: unknown."""
        return {field: self._ids(field) for field in self.categories}

    @property
    def field2id_token(self) -> dict[str, list[str]]:
        """Names of categories by their ids; the first is padding's."""
        return {field: ["[PAD]", *names] for field, names in self.categories.items()}

    def _ids(self, field: str) -> Tensor:
        number = {name: place for place, name in enumerate(self.categories[field], start=1)}
        given = self.columns.get(field, [""] * self._articles)
        return torch.tensor([0, *(number.get(name, 0) for name in given)])

    @property
    def _articles(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def num(self, field: str) -> int:
        """Number of articles, or of categories, padding included."""
        if field == self.iid_field:
            return 1 + self._articles
        if field not in self.categories:
            raise ValueError(_not_given(f"the field '{field}'"))
        return 1 + len(self.categories[field])

    def history_width(self, config: Settings) -> int:
        """Newest clicks that the user encoder sees."""
        return config["history_length"]

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(_not_given(f"'{name}'"))


def _not_given(asked_for: str) -> str:
    return (
        "A recommender that is loaded to rank given articles expects nothing but these, and the "
        f"names of categories if its folder has them, and asks for {asked_for} of its data set. "
        "If an earlier version has trained it, run its command again with --fresh; else build it "
        "with its data set: pipeline.run.Run(factory).model(stage)."
    )
