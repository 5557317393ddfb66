"""Selects the article fields that a recommender reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recbole_tinynews.data.news_text import TITLE_ABSTRACT, with_abstract
from recbole_tinynews.files.columns import ABSTRACT, BODY, GROUPS, TITLE
from recbole_tinynews.settings.values import suggest

Content = str | Mapping[str, str]
"""A title, or an article's fields by their names."""

Read = tuple[str, ...]
"""The fields that a recommender reads of an article: equal ones have equal vectors."""

ID = "id"  # of an article, beside its fields
FIELDS = (TITLE, ABSTRACT, BODY, *GROUPS)


class Reading:
    """The article fields read; a single view is one text: the title, then any abstract read."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        views = settings.get("views") or [TITLE]  # an export has none: it reads titles
        self._one_text = views == [TITLE]
        self._with_abstract = TITLE in views and settings["news_text"] == TITLE_ABSTRACT
        self.fields = tuple(dict.fromkeys([*views, *([ABSTRACT] if self._with_abstract else [])]))

    def read(self, content: Content) -> Read:
        """The fields read of a checked article; a string is a title without further fields."""
        if isinstance(content, str):
            content = {TITLE: content}
        if not self._one_text:
            return tuple(content.get(name, "") for name in self.fields)
        abstract = content.get(ABSTRACT, "") if self._with_abstract else ""
        return (with_abstract(content[TITLE], abstract),)

    def content(self, read: Read) -> Content:
        """The inverse of ``read``: one text, or the fields of several views."""
        return read[0] if self._one_text else dict(zip(self.fields, read, strict=True))

    def columns(self, articles: Sequence[Read]) -> dict[str, list[str]]:
        """The columns that ``NewsEncoder.encode_texts`` takes."""
        names = [TITLE] if self._one_text else self.fields
        return {name: [each[at] for each in articles] for at, name in enumerate(names)}


def check_content(content: Any) -> None:
    """Check a title or mapping; ``ValueError``: fields or no title; ``TypeError``: not strings."""
    if isinstance(content, str):
        return
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
    """The title of an article, or an empty string."""
    return content if isinstance(content, str) else content.get(TITLE, "")
