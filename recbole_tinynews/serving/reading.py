"""What a recommender reads of an article, as one text: equal texts have equal vectors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from recbole_tinynews.data.news_text import TITLE_ABSTRACT, with_abstract
from recbole_tinynews.files.columns import ABSTRACT, BODY, CATEGORY, SUBCATEGORY, TITLE
from recbole_tinynews.settings.nearest import suggest

Content = str | Mapping[str, str]
"""A title, or an article's fields by their names."""

ID = "id"  # of an article, beside its fields
FIELDS = (TITLE, ABSTRACT, BODY, CATEGORY, SUBCATEGORY)


class Reading:
    """Which fields of an article a recommender reads, and the text that stands for them.

    The text of a recommender with one view is its title, with the abstract behind it where it reads
    that; of one with several views it is their json. A title alone is an article whose other fields
    are empty.

    Args:
        settings: of the recommender.

    Attributes:
        fields: names of the fields that are read.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        # of an export, and before there were views: the title
        views = settings.get("views") or [TITLE]
        self._one_text = views == [TITLE]
        self._with_abstract = TITLE in views and settings["news_text"] == TITLE_ABSTRACT
        self.fields = tuple(dict.fromkeys([*views, *([ABSTRACT] if self._with_abstract else [])]))

    def text(self, content: Content) -> str:
        """The text that stands for an article.

        A title by itself is taken as all that a recommender with one view reads.

        Raises:
            ValueError: a field is unknown, or the title is missing.
            TypeError: a field is no text.
        """
        if isinstance(content, str):
            if self._one_text:
                return content
            content = {TITLE: content}
        check_fields(content)
        if self._one_text:
            abstract = content.get(ABSTRACT, "") if self._with_abstract else ""
            return with_abstract(content[TITLE], abstract)
        return json.dumps([content.get(name, "") for name in self.fields], ensure_ascii=False)

    def content(self, text: str) -> Content:
        """An article for which ``text`` stands: the text itself, or the fields of several views."""
        return text if self._one_text else dict(zip(self.fields, json.loads(text), strict=True))

    def read_of(self, content: Content) -> Content:
        """The article as it is read: without fields that are not, and with those that it lacks."""
        return self.content(self.text(content))

    def columns(self, texts: Sequence[str]) -> dict[str, list[str]]:
        """The fields of these articles, by name; the abstract is behind the title if it is read."""
        if self._one_text:
            return {TITLE: list(texts)}
        rows = [json.loads(text) for text in texts]
        columns = {name: [row[at] for row in rows] for at, name in enumerate(self.fields)}
        if self._with_abstract:
            both = zip(columns[TITLE], columns[ABSTRACT], strict=True)
            columns[TITLE] = [with_abstract(*each) for each in both]
        return columns


def check_fields(content: Mapping[str, Any]) -> None:
    """Refuse an article with unknown fields, without a title, or with one that is no text.

    Raises:
        ValueError: a field is unknown, or the title is missing.
        TypeError: a field is no text.
    """
    for name, value in content.items():
        if name not in (ID, *FIELDS):
            raise ValueError(
                f"An article expects {', '.join(FIELDS)} and perhaps {ID}, got {name!r:.100}."
                f"{suggest(str(name), FIELDS)}"
            )
        if not isinstance(value, str):
            raise TypeError(f"An article expects texts, got {value!r:.100} as {name}.")
    if TITLE not in content:
        raise ValueError(f"An article expects a {TITLE}, got {', '.join(content) or 'nothing'}.")


def title_of(content: Content) -> str:
    """The title of an article, to be shown; nothing if it is not among the fields."""
    return content if isinstance(content, str) else content.get(TITLE, "")
