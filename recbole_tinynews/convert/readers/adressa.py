"""Adressa: click events of Adresseavisen, one JSON object per line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from recbole_tinynews.convert.atomic import Impression, NewsRow
from recbole_tinynews.convert.errors import LineError, quoted
from recbole_tinynews.convert.readers.reader import Options, decoded, read_raw_lines
from recbole_tinynews.convert.readers.row_shape import CLICKS, Shape
from recbole_tinynews.convert.readers.tables import TableReader

ARTICLE, CATEGORIES, PROFILE = "id", "category1", "profile"
COLUMNS = {
    "user": "userId",
    "time": "time",
    "clicked": ARTICLE,
    "title": "title",
    "published": "publishtime",
    "category": CATEGORIES,
    "subcategory": CATEGORIES,
}


class AdressaReader(TableReader):
    """Reads files of one day's events as tables; those with an ``id`` are clicks."""

    expects = "a file of events, a JSON object in each line, or a folder of such files"
    options = frozenset({"sampled", "seed"})

    def __init__(self, given: Options) -> None:
        super().__init__(given._replace(columns=COLUMNS))
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
        cells = {role: event.get(name) for role, name in COLUMNS.items()}
        cells["category"], cells["subcategory"] = _categories(event)
        return super().article(path, cells)

    def read_impressions(self, place: Path, labels_required: bool) -> Iterator[Impression]:
        """Clicks in time order."""
        return self._log.impressions(self.news_files(place))

    def context(self, place: Path) -> Sequence[str]:
        """None: events say nothing of it."""
        return ()

    def about(self) -> dict[str, Any]:
        """Report sections on sampled candidates and events other than clicks."""
        return {**self._log.about(), "adressa": {"events_without_article": self._without_article}}

    def _shape(self, path: Path) -> Shape:
        return Shape(CLICKS, "events")


def _event(line: bytes) -> dict[str, Any]:
    text = decoded(line)
    event, why = None, ""
    try:
        event = json.loads(text)
    except (ValueError, RecursionError) as error:
        why = f" ({error})"
    if not isinstance(event, dict):
        raise LineError("no JSON", "a JSON object", f"{quoted(text)}{why}")
    return event


def _is_click(event: dict[str, Any]) -> bool:
    """Whether the page is an article; other page classes have ids too."""
    if event.get(ARTICLE) in (None, ""):
        return False
    classes = _profile_items(event, "pageclass")
    return not classes or "article" in classes


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
        part["item"]
        for part in (profile if isinstance(profile, list) else ())
        if isinstance(part, dict)
        and isinstance(part.get("item"), str)
        and isinstance(part.get("groups"), list)
        and any(isinstance(group, dict) and group.get("group") == name for group in part["groups"])
    ]
