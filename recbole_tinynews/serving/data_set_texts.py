"""Texts by news id, from the ``.item`` file of the data set that a recommender was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from recbole_tinynews.data.atomic_files import read_news
from recbole_tinynews.data.news_text import TITLE_ABSTRACT, with_abstract
from recbole_tinynews.paths import packaged_folder


def reads_abstracts(settings: Mapping[str, Any]) -> bool:
    """Whether a recommender reads the abstract after the title."""
    return settings["news_text"] == TITLE_ABSTRACT


class DataSetTexts:
    """What the recommender reads of each article of its data set; read when first asked for.

    Args:
        settings: of the recommender.
        data_path: folder that holds the folder of the data set; ``None``: ``dataset``, then the
            embedded data sets.
    """

    def __init__(self, settings: Mapping[str, Any], data_path: Path | None) -> None:
        self.name: str = settings["dataset"]
        self._reads_abstracts = reads_abstracts(settings)
        self._data_path = data_path

    def __contains__(self, news_id: str) -> bool:
        """Whether the data set has it; raises ``FileNotFoundError`` where it is not found."""
        return news_id in self._by_id

    def texts(self, ids: Sequence[str]) -> list[str]:
        """The texts of these ids.

        Raises:
            FileNotFoundError: there are ids, and the data set is not found.
            ValueError: it has no article with such an id.
        """
        known = self._by_id if ids else {}
        unknown = [each for each in ids if each not in known]
        if unknown:
            raise ValueError(
                f"News ids of data set '{self.name}' are expected, got {unknown[0]!r}, which its "
                f".item file does not have"
                f"{f' ({len(unknown)} of {len(ids)} are unknown)' if len(unknown) > 1 else ''}. "
                "Pass titles with ids=False, add the article with add_news, or leave out what has "
                "no text."
            )
        return [known[each] for each in ids]

    @cached_property
    def _by_id(self) -> dict[str, str]:
        news = read_news(self._item_file())
        texts = news.title
        if self._reads_abstracts:
            texts = [with_abstract(*each) for each in zip(news.title, news.abstract, strict=True)]
        return dict(zip(news.item_id, texts, strict=True))

    def _item_file(self) -> Path:
        places = [self._data_path] if self._data_path else [Path("dataset"), _packaged_data()]
        files = [place / self.name / f"{self.name}.item" for place in places if place]
        for file in files:
            if file.is_file():
                return file
        raise FileNotFoundError(
            f"News ids are looked up in data set '{self.name}', which is not found: "
            f"{' or '.join(str(file.absolute()) for file in files)} is expected. Name the folder "
            "that holds it with load(folder, data_path=...), add the articles with add_news, or "
            "pass titles with ids=False."
        )


def _packaged_data() -> Path | None:
    try:
        return packaged_folder("dataset")
    except FileNotFoundError:
        return None
