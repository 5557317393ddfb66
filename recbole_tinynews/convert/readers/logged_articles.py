"""Articles of a log, whose text comes with every click."""

from __future__ import annotations

from typing import Any

from recbole_tinynews.convert.errors import EXAMPLES
from recbole_tinynews.convert.records import NewsRow


class LoggedArticles:
    """Keeps the first text of each article: a title that was edited later is no bad line."""

    def __init__(self) -> None:
        self._first: dict[str, NewsRow] = {}
        self._changed: dict[str, None] = {}

    def first(self, row: NewsRow) -> NewsRow:
        """The row with the article's first text, or the first one with a title."""
        name = row.news.news_id
        known = self._first.setdefault(name, row)
        if row.news.title.strip() and not known.news.title.strip():
            known = self._first[name] = row
        elif known[1:] != row[1:]:
            self._changed[name] = None
        return known._replace(line=row.line)

    def about(self) -> dict[str, Any]:
        """The section of the report on articles whose text changed; empty if none did."""
        if not self._changed:
            return {}
        examples = list(self._changed)[:EXAMPLES]
        return {"articles_whose_text_changed": {"ids": len(self._changed), "examples": examples}}
