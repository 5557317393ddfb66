"""Adressa: the events of Adresseavisen's readers, a JSON object in each line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from recbole_tinynews.convert.errors import LineError, quoted
from recbole_tinynews.convert.readers.click_log import ClickLog, Row
from recbole_tinynews.convert.readers.fields import id_of, text_of
from recbole_tinynews.convert.readers.parsed import parsed
from recbole_tinynews.convert.readers.reader import Reader, Source
from recbole_tinynews.convert.readers.rows import read_raw_lines, text_of_line
from recbole_tinynews.convert.readers.times import published_of, seconds_of
from recbole_tinynews.convert.records import Impression, News, NewsRow, OnBadLine

USER, TIME, ARTICLE, TITLE, PUBLISHED = "userId", "time", "id", "title", "publishtime"
CATEGORIES, PROFILE = "category1", "profile"


class AdressaReader(Reader):
    """A file of a day's events, or a folder of such files.

    An event with an ``id`` is a click on that article; others, such as visits of the front page,
    are counted. Nothing is known of what else was shown: candidates are drawn (see ``ClickLog``).
    """

    expects = "a file of events, a JSON object in each line, or a folder of such files"
    options = frozenset({"sampled", "seed"})
    articles_in_clicks = True
    news_columns = (ARTICLE, CATEGORIES, CATEGORIES, TITLE, TITLE, PUBLISHED)

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._log = ClickLog(source.sampled, source.seed)
        self._elsewhere = 0

    def problem(self, place: Path) -> str | None:
        """That there is no file."""
        if not place.exists():
            return f"expected {self.expects}, found nothing there."
        if not self.news_files(place):
            return f"expected {self.expects}, found an empty folder."
        return None

    def impressions_file(self, place: Path) -> Path:
        """The file or folder."""
        return place

    def news_files(self, place: Path) -> Sequence[Path]:
        """The files of events, which have the articles too."""
        if not place.is_dir():
            return [place]
        files = (path for path in place.iterdir() if path.is_file())
        return sorted(path for path in files if not path.name.startswith("."))

    def read_news(self, path: Path, on_bad_line: OnBadLine) -> Iterator[NewsRow]:
        """The articles that were clicked; the clicks are kept for ``read_impressions``."""
        for click in parsed(path, read_raw_lines(path), _click, on_bad_line):
            if click is None:
                self._elsewhere += 1
            else:
                self._log.add(path, click.row)
                yield click.article

    def read_impressions(
        self, place: Path, on_bad_line: OnBadLine, labels_required: bool
    ) -> Iterator[Impression]:
        """The clicks in the order of time."""
        return self._log.impressions(self.news_files(place))

    def about(self) -> dict[str, Any]:
        """Candidates that were drawn, events that are no clicks."""
        return {**self._log.about(), "adressa": {"events_without_article": self._elsewhere}}


class _Click(NamedTuple):
    row: Row
    article: NewsRow


def _click(number: int, line: bytes) -> _Click | None:
    """The click of an event; None: it is about no article."""
    event = _event(line)
    if not _is_click(event):
        return None
    news = _article(event)
    user, time = id_of(event.get(USER), USER), seconds_of(event.get(TIME), TIME)
    return _Click(Row(None, user, time, [news.news_id], None, None), NewsRow(number, news))


def _event(line: bytes) -> dict[str, Any]:
    text = text_of_line(line)
    try:
        event = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LineError(
            "no JSON", f"expected a JSON object, got {quoted(text)} ({error})."
        ) from None
    if not isinstance(event, dict):
        raise LineError("no JSON", f"expected a JSON object, got {quoted(text)}.")
    return event


def _is_click(event: dict[str, Any]) -> bool:
    """Whether it is about an article: a page of another class has an id too."""
    if event.get(ARTICLE) in (None, ""):
        return False
    classes = _of_group(event, "pageclass")
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
    """Category and subcategory: ``a|b`` of the event itself, or ``a/b`` of its profile."""
    named = event.get(CATEGORIES)
    if isinstance(named, str) and named:
        first, _, rest = named.partition("|")
        return first, rest.partition("|")[0]
    paths = _of_group(event, "taxonomy") or _of_group(event, "category")
    first, _, rest = max(paths, key=lambda path: path.count("/"), default="").partition("/")
    return first, rest.partition("/")[0]


def _of_group(event: dict[str, Any], name: str) -> list[str]:
    """The items of a profile that belong to a group, as far as it is built as published."""
    profile = event.get(PROFILE)
    return [
        each["item"]
        for each in (profile if isinstance(profile, list) else ())
        if isinstance(each, dict)
        and isinstance(each.get("item"), str)
        and isinstance(each.get("groups"), list)
        and any(isinstance(group, dict) and group.get("group") == name for group in each["groups"])
    ]
