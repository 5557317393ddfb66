"""EB-NeRD: Ekstra Bladet's News Recommendation Dataset, in parquet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from sys import intern
from typing import Any

from recbole_tinynews.convert.atomic import Impression, NewsItem, NewsRow
from recbole_tinynews.convert.errors import LineError, OnBadLine, quoted, readable
from recbole_tinynews.convert.readers.cells import (
    clicked_in,
    context_of,
    duplicate,
    id_of,
    ids_of,
    labels_of,
    published_of,
    seconds_of,
    shown_in,
    text_of,
)
from recbole_tinynews.convert.readers.reader import Reader, missing_files, parsed, unlabelled
from recbole_tinynews.files import parquet
from recbole_tinynews.files.columns import (
    CONTEXT_ARTICLE,
    DEVICE,
    READ_TIME,
    SCROLL_PERCENTAGE,
    SESSION,
    SUBSCRIBER,
)

BEHAVIORS, HISTORY, ARTICLES = "behaviors.parquet", "history.parquet", "articles.parquet"

IMPRESSION_ID, USER_ID, TIME_SHOWN = "impression_id", "user_id", "impression_time"
SHOWN, CLICKED = "article_ids_inview", "article_ids_clicked"
BEYOND_ACCURACY = "is_beyond_accuracy"
CLICKS, CLICK_TIMES = "article_id_fixed", "impression_time_fixed"
CONTEXT_COLUMNS = {
    CONTEXT_ARTICLE: "article_id",
    DEVICE: "device_type",
    SESSION: "session_id",
    SUBSCRIBER: "is_subscriber",
    READ_TIME: "read_time",
    SCROLL_PERCENTAGE: "scroll_percentage",
}

ARTICLE_ID, TITLE, ABSTRACT, BODY = "article_id", "title", "subtitle", "body"
PUBLISHED = "published_time"
CATEGORY, CATEGORY_NUMBER, SUBCATEGORY = "category_str", "category", "subcategory"

ARTICLES_AT_ONCE = 2_048  # with bodies
USERS_AT_ONCE = 1_024  # some hundred clicks each


class EbnerdReader(Reader):
    """Reads a folder per split beside the articles; the test set's impressions of id 0 are kept."""

    expects = f"a folder with {BEHAVIORS} and {HISTORY}, and {ARTICLES} in it or beside it"
    impressions_file = BEHAVIORS
    shared_id = "0"
    news_columns = (ARTICLE_ID, CATEGORY, SUBCATEGORY, TITLE, ABSTRACT, PUBLISHED)
    body_column = BODY

    def problem(self, place: Path) -> str | None:
        """Describe a missing file."""
        problem = missing_files(place, (BEHAVIORS, HISTORY), self.expects)
        if problem is None and not _articles(place).is_file():
            return f"expected {self.expects}, found no {ARTICLES}."
        return problem

    def news_files(self, place: Path) -> Sequence[Path]:
        """The folder's own articles, or those beside it, shared by all splits."""
        return [_articles(place)]

    def news_rows(self, path: Path) -> Iterator[parquet.Row]:
        """The rows of ``articles.parquet``."""
        optional = (ABSTRACT, BODY, CATEGORY, CATEGORY_NUMBER, SUBCATEGORY, PUBLISHED)
        return _rows(path, (ARTICLE_ID, TITLE), optional, ARTICLES_AT_ONCE)

    def article(self, path: Path, content: Mapping[str, Any]) -> NewsRow:
        """An article, with the first of its subcategories."""
        category = content.get(CATEGORY) or content.get(CATEGORY_NUMBER)
        subcategories = content.get(SUBCATEGORY) or [None]
        news = NewsItem(
            id_of(content[ARTICLE_ID], ARTICLE_ID),
            text_of(category, CATEGORY),
            text_of(subcategories[0], SUBCATEGORY),
            text_of(content[TITLE], TITLE),
            text_of(content.get(ABSTRACT), ABSTRACT),
            published_of(content.get(PUBLISHED), PUBLISHED),
        )
        return NewsRow(news, text_of(content.get(BODY), BODY))

    def read_impressions(self, place: Path, labels_required: bool) -> Iterator[Impression]:
        """Rows of ``behaviors.parquet``, with histories from ``history.parquet``."""
        path = place / BEHAVIORS
        names = _names(path)
        if labels_required and CLICKED not in names:
            raise unlabelled(path, CLICKED, names)
        histories = _Histories(place / HISTORY, self.on_bad_line)
        seen: set[int | str] = set()

        def parse(_: int, cells: Mapping[str, Any]) -> Impression:
            impression = _impression(cells, histories)
            shared = impression.impression_id == self.shared_id and cells.get(BEYOND_ACCURACY)
            if cells[IMPRESSION_ID] in seen and not shared:
                raise duplicate("impression id", impression.impression_id, IMPRESSION_ID)
            seen.add(cells[IMPRESSION_ID])
            return impression

        required = (IMPRESSION_ID, USER_ID, TIME_SHOWN, SHOWN)
        rows = _rows(path, required, (CLICKED, BEYOND_ACCURACY, *CONTEXT_COLUMNS.values()))
        yield from parsed(path, rows, parse, self.on_bad_line)

    def context(self, place: Path) -> Sequence[str]:
        """What ``behaviors.parquet`` has of the page and the visit."""
        names = _names(place / BEHAVIORS)
        return [name for name, column in CONTEXT_COLUMNS.items() if column in names]


def _names(path: Path) -> list[str]:
    with readable(path):
        return parquet.column_names(path)


def _rows(path: Path, *columns: Any) -> Iterator[parquet.Row]:
    with readable(path):
        yield from parquet.read_rows(path, *columns)


def _articles(place: Path) -> Path:
    return place / ARTICLES if (place / ARTICLES).is_file() else place.parent / ARTICLES


class _Histories:
    """Article ids by user, oldest click first; each distinct id is in memory once."""

    def __init__(self, path: Path, on_bad_line: OnBadLine) -> None:
        self.clicks: dict[str, list[str]] = {}
        rows = _rows(path, (USER_ID, CLICKS), (CLICK_TIMES,), USERS_AT_ONCE)
        for _ in parsed(path, rows, self._add, on_bad_line):
            pass

    def _add(self, _: int, cells: Mapping[str, Any]) -> None:
        user = id_of(cells[USER_ID], USER_ID)
        clicks = ids_of(cells[CLICKS], CLICKS)
        if user in self.clicks:
            raise LineError("duplicate user", "a user once", f"{quoted(user)} again", USER_ID)
        if CLICK_TIMES in cells:
            clicks = _by_time(clicks, cells[CLICK_TIMES])
        self.clicks[user] = [*map(intern, clicks)]


def _by_time(clicks: list[str], times: Sequence[Any] | None) -> list[str]:
    if times is None or len(times) != len(clicks) or None in times:
        expected = f"a time for each of {len(clicks)} clicks"
        got = "none" if times is None else str(len(times) - times.count(None))
        raise LineError("clicks without times", expected, got, CLICK_TIMES)
    return [clicks[place] for place in sorted(range(len(clicks)), key=times.__getitem__)]


def _impression(cells: Mapping[str, Any], histories: _Histories) -> Impression:
    user = id_of(cells[USER_ID], USER_ID)
    shown = shown_in(cells[SHOWN], SHOWN)
    labels = ""
    if CLICKED in cells:
        labels = labels_of(shown, clicked_in(cells[CLICKED], CLICKED, shown))
    context = {name: cells[column] for name, column in CONTEXT_COLUMNS.items() if column in cells}
    return Impression(
        id_of(cells[IMPRESSION_ID], IMPRESSION_ID),
        user,
        seconds_of(cells[TIME_SHOWN], TIME_SHOWN),
        histories.clicks.get(user, []),
        shown,
        labels,
        context_of(context, CONTEXT_COLUMNS.__getitem__),
    )
