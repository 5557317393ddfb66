"""Adressa: click events of Adresseavisen, one JSON object per line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from recbole_tinynews.convert.atomic import Impression, News, NewsRow
from recbole_tinynews.convert.errors import LineError, quoted
from recbole_tinynews.convert.readers.cells import id_of, text_of
from recbole_tinynews.convert.readers.click_log import ClickLog, LogRow
from recbole_tinynews.convert.readers.reader import Reader, Source, decoded, read_raw_lines
from recbole_tinynews.convert.timestamps import published_of, seconds_of

USER, TIME, ARTICLE, TITLE, PUBLISHED = "userId", "time", "id", "title", "publishtime"
CATEGORIES, PROFILE = "category1", "profile"


class AdressaReader(Reader):
    """Reads files of one day's events; those with an ``id`` are clicks. Samples candidates."""

    expects = "a file of events, a JSON object in each line, or a folder of such files"
    options = frozenset({"sampled", "seed"})
    articles_in_clicks = True
    news_columns = (ARTICLE, CATEGORIES, CATEGORIES, TITLE, TITLE, PUBLISHED)

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._log = ClickLog(source.sampled, source.seed)
        self._without_article = 0

    def problem(self, place: Path) -> str | None:
        """Describe a missing file or an empty folder."""
        if not place.exists():
            return f"expected {self.expects}, found nothing there."
        if not self.news_files(place):
            return f"expected {self.expects}, found an empty folder."
        return None

    def news_files(self, place: Path) -> Sequence[Path]:
        """The event files, which contain the articles."""
        if not place.is_dir():
            return [place]
        files = (path for path in place.iterdir() if path.is_file())
        return sorted(path for path in files if not path.name.startswith("."))

    def news_rows(self, path: Path) -> Iterable[tuple[int, bytes]]:
        """The events of a file."""
        return read_raw_lines(path)

    def article(self, path: Path, content: bytes) -> NewsRow | None:
        """The clicked article; the click is stored for ``read_impressions``."""
        event = _event(content)
        if not _is_click(event):
            self._without_article += 1
            return None
        news = _article(event)
        user, time = id_of(event.get(USER), USER), seconds_of(event.get(TIME), TIME)
        self._log.add(path, LogRow(None, user, time, [news.news_id], None, None))
        return NewsRow(news)

    def read_impressions(self, place: Path, labels_required: bool) -> Iterator[Impression]:
        """Clicks in time order."""
        return self._log.impressions(self.news_files(place))

    def about(self) -> dict[str, Any]:
        """Report sections on sampled candidates and events other than clicks."""
        return {**self._log.about(), "adressa": {"events_without_article": self._without_article}}


def _event(line: bytes) -> dict[str, Any]:
    text = decoded(line)
    event, why = None, ""
    try:
        event = json.loads(text)
    except (ValueError, RecursionError) as error:
        why = f" ({error})"
    if not isinstance(event, dict):
        raise LineError("no JSON", f"expected a JSON object, got {quoted(text)}{why}.")
    return event


def _is_click(event: dict[str, Any]) -> bool:
    """Whether the page is an article; other page classes have ids too."""
    if event.get(ARTICLE) in (None, ""):
        return False
    classes = _profile_items(event, "pageclass")
    return not classes or "article" in classes


def _article(event: dict[str, Any]) -> News:
    parts = _categories(event)
    return News(
        id_of(event[ARTICLE], ARTICLE),
        text_of(parts[0], CATEGORIES),
        text_of(parts[1], CATEGORIES),
        text_of(event.get(TITLE), TITLE),
        published=published_of(event.get(PUBLISHED), PUBLISHED),
    )


def _categories(event: dict[str, Any]) -> tuple[str, str]:
    """Category and subcategory: ``a|b`` in the event, or ``a/b`` in its profile."""
    named = event.get(CATEGORIES)
    if isinstance(named, str) and named:
        first, _, rest = named.partition("|")
        return first, rest.partition("|")[0]
    paths = _profile_items(event, "taxonomy") or _profile_items(event, "category")
    first, _, rest = max(paths, key=lambda path: path.count("/"), default="").partition("/")
    return first, rest.partition("/")[0]


def _profile_items(event: dict[str, Any], name: str) -> list[str]:
    """Items of the event's profile in a group; malformed ones are ignored."""
    profile = event.get(PROFILE)
    return [
        each["item"]
        for each in (profile if isinstance(profile, list) else ())
        if isinstance(each, dict)
        and isinstance(each.get("item"), str)
        and isinstance(each.get("groups"), list)
        and any(isinstance(group, dict) and group.get("group") == name for group in each["groups"])
    ]
