"""Articles of a log, whose text comes with every click."""

from __future__ import annotations

from typing import Any

from recbole_tinynews.convert.errors import EXAMPLES
from recbole_tinynews.convert.records import News, NewsRow


class LoggedArticles:
    """Keeps the first text of each field of an article: an edited title is no bad line."""

    def __init__(self) -> None:
        self._first: dict[str, NewsRow] = {}
        self._changed: dict[str, None] = {}

    def first(self, row: NewsRow) -> NewsRow:
        """The row with the first texts that are not empty."""
        name = row.news.news_id
        known = self._first.setdefault(name, row)
        if known[1:] != row[1:]:
            pairs = zip(known.news, row.news, strict=True)
            news = News(*(old if old.strip() else new for old, new in pairs))
            body = known.body or row.body
            known = self._first[name] = NewsRow(row.line, news, body)
            if any(new and new != kept for new, kept in zip(row.news, news, strict=True)) or (
                row.body and row.body != body
            ):
                self._changed[name] = None
        return known._replace(line=row.line)

    def about(self) -> dict[str, Any]:
        """The section of the report on articles whose text changed; empty if none did."""
        if not self._changed:
            return {}
        examples = list(self._changed)[:EXAMPLES]
        return {"articles_whose_text_changed": {"ids": len(self._changed), "examples": examples}}
