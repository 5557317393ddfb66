"""PENS: Microsoft's data for personalised headlines, tab-separated, with headers."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from recbole_tinynews.convert.errors import LineError
from recbole_tinynews.convert.readers.fields import parse_id, parse_ids
from recbole_tinynews.convert.readers.mind import parse_time
from recbole_tinynews.convert.readers.parsed import parsed
from recbole_tinynews.convert.readers.reader import Reader, not_a_file
from recbole_tinynews.convert.readers.rows import read_rows_below_header
from recbole_tinynews.convert.records import Impression, News, NewsRow, OnBadLine

NEWS_FILE = "news.tsv"
NEWS_COLUMNS = (
    "News ID",
    "Category",
    "Topic",
    "Headline",
    "News body",
    "Title entity",
    "Entity content",
)
IMPRESSION_COLUMNS = (
    "UserID",
    "ClicknewsID",
    "dwelltime",
    "exposure_time",
    "pos",
    "neg",
    "start",
    "end",
    "dwelltime_pos",
)
USER, HISTORY, CLICKED, UNCLICKED, START = (
    IMPRESSION_COLUMNS.index(name) for name in ("UserID", "ClicknewsID", "pos", "neg", "start")
)


class PensReader(Reader):
    """``train.tsv`` or ``valid.tsv``, with ``news.tsv`` beside it.

    An impression's id is the number of its line. Clicked and unclicked articles are apart in the
    file; they are shuffled with the seed, since their place would tell them.
    """

    expects = f"train.tsv or valid.tsv with {NEWS_FILE} beside it"
    options = frozenset({"seed"})
    news_columns = (1, 2, 3, 4, 5, "published")
    body_column = 5

    def problem(self, place: Path) -> str | None:
        """The file, or the articles, that are not there."""
        problem = not_a_file(place, self.expects)
        if problem is None and not (place.parent / NEWS_FILE).is_file():
            return f"expected {self.expects}, found no {NEWS_FILE}."
        return problem

    def impressions_file(self, place: Path) -> Path:
        """The file itself."""
        return place

    def news_files(self, place: Path) -> Sequence[Path]:
        """The ``news.tsv`` beside it."""
        return [place.parent / NEWS_FILE]

    def read_news(self, path: Path, on_bad_line: OnBadLine) -> Iterator[NewsRow]:
        """The articles with their bodies; PENS has no abstracts."""
        rows = read_rows_below_header(path, NEWS_COLUMNS, on_bad_line)
        return parsed(path, rows, _article, on_bad_line)

    def read_impressions(
        self, place: Path, on_bad_line: OnBadLine, labels_required: bool
    ) -> Iterator[Impression]:
        """The impressions, each at its start."""
        rows = read_rows_below_header(place, IMPRESSION_COLUMNS, on_bad_line)
        return parsed(place, rows, self._impression, on_bad_line)

    def _impression(self, number: int, fields: Sequence[str]) -> Impression:
        shown = [(each, "1") for each in parse_ids(fields[CLICKED], CLICKED + 1)]
        shown += [(each, "0") for each in parse_ids(fields[UNCLICKED], UNCLICKED + 1)]
        if not shown:
            raise LineError(
                "no candidates",
                f"expected at least one candidate here or in column {UNCLICKED + 1}, got none.",
                CLICKED + 1,
            )
        random.Random(f"{self.source.seed}/{number}").shuffle(shown)
        return Impression(
            str(number),
            parse_id(fields[USER], USER + 1),
            parse_time(fields[START], START + 1),
            parse_ids(fields[HISTORY], HISTORY + 1),
            [each for each, _ in shown],
            " ".join([label for _, label in shown]),
        )


def _article(number: int, fields: Sequence[str]) -> NewsRow:
    news_id, category, topic, headline, body, *_ = fields
    return NewsRow(number, News(parse_id(news_id, 1), category, topic, headline, ""), body)
