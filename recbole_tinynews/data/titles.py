"""Titles in place of a data set, for a recommender that only ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from recbole_tinynews.data.news_text import TITLE_ABSTRACT, tokenise
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.files.columns import TITLE
from recbole_tinynews.settings.protocol import Settings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Titles:
    """A data set of titles only: articles ``1, 2, ...``; 0 is padding, as in ``NewsDataset``.

    Where a recommender reads abstracts too, each text is ``with_abstract`` of an article.
    """

    cache_dir = None  # serving writes nothing

    def __init__(self, titles: Sequence[str], iid_field: str) -> None:
        self.titles, self.iid_field = ["", *titles], iid_field

    def tokens(
        self, field: str, tokenizer: PreTrainedTokenizerBase, max_length: int, prefix: str = ""
    ) -> Ragged:
        """Token ids of the titles."""
        if field not in (TITLE, TITLE_ABSTRACT):
            raise ValueError(_only_titles(f"the text '{field}'"))
        return tokenise(self.titles, tokenizer, max_length, prefix=prefix)

    def num(self, field: str) -> int:
        """Number of articles, padding included."""
        if field != self.iid_field:
            raise ValueError(_only_titles(f"the field '{field}'"))
        return len(self.titles)

    def history_width(self, config: Settings) -> int:
        """Newest clicks that the user encoder sees."""
        return config["history_length"]

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(_only_titles(f"'{name}'"))


def _only_titles(asked_for: str) -> str:
    return (
        f"A recommender that is loaded to rank titles expects nothing but titles, and asks for "
        f"{asked_for} of its data set. Build it with its data set: "
        "pipeline.run.Run(factory).model(stage)."
    )
