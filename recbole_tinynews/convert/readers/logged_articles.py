"""Articles of a log, whose text comes with every click."""

from __future__ import annotations

from typing import Any

from recbole_tinynews.convert.errors import EXAMPLES
from recbole_tinynews.convert.records import News


class LoggedArticles:
    """Keeps the first text of each article: a title that was edited later is no bad line."""

    def __init__(self) -> None:
        self._first: dict[str, News] = {}
        self._changed: dict[str, None] = {}

    def is_new(self, news: News) -> bool:
        """Whether this is the article's first text, or the first one with a title."""
        known = self._first.get(news.news_id)
        if known is None or (news.title.strip() and not known.title.strip()):
            self._first[news.news_id] = news
            return True
        if known != news and news.title.strip():
            self._changed[news.news_id] = None
        return False

    def about(self) -> dict[str, Any]:
        """The section of the report on articles whose text changed; empty if none did."""
        if not self._changed:
            return {}
        examples = list(self._changed)[:EXAMPLES]
        return {"articles_whose_text_changed": {"ids": len(self._changed), "examples": examples}}
