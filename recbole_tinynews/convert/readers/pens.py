"""PENS: Microsoft's personalised headlines, tab-separated with headers."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from recbole_tinynews.convert.atomic import Impression, NewsItem, NewsRow
from recbole_tinynews.convert.errors import LineError
from recbole_tinynews.convert.readers.cells import id_of, ids_of, utc_seconds
from recbole_tinynews.convert.readers.reader import Reader, not_a_file, parsed, read_rows

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
    """Reads a split and ``news.tsv`` beside it; ids are line numbers, candidates are shuffled."""

    expects = f"train.tsv or valid.tsv with {NEWS_FILE} beside it"
    options = frozenset({"seed"})
    body_column = 5

    def problem(self, place: Path) -> str | None:
        """Describe a missing file."""
        problem = not_a_file(place, self.expects)
        if problem is None and not (place.parent / NEWS_FILE).is_file():
            return f"expected {self.expects}, found no {NEWS_FILE}."
        return problem

    def news_files(self, place: Path) -> Sequence[Path]:
        """The ``news.tsv`` beside it."""
        return [place.parent / NEWS_FILE]

    def news_rows(self, path: Path) -> Iterable[tuple[int, Sequence[str]]]:
        """The rows of a ``news.tsv``."""
        return read_rows(path, NEWS_COLUMNS, self.on_bad_line, header=True)

    def article(self, path: Path, content: Sequence[str]) -> NewsRow:
        """An article with its body; PENS has no abstracts."""
        news_id, category, topic, headline, body, *_ = content
        return NewsRow(NewsItem(id_of(news_id, 1), category, topic, headline), body)

    def read_impressions(self, place: Path, labels_required: bool) -> Iterator[Impression]:
        """Impressions, timed by their start."""
        rows = read_rows(place, IMPRESSION_COLUMNS, self.on_bad_line, header=True)
        return parsed(place, rows, self._impression, self.on_bad_line)

    def _impression(self, number: int, fields: Sequence[str]) -> Impression:
        shown = [(each, "1") for each in ids_of(fields[CLICKED], CLICKED + 1)]
        shown += [(each, "0") for each in ids_of(fields[UNCLICKED], UNCLICKED + 1)]
        if not shown:
            expected = f"at least one candidate here or in column {UNCLICKED + 1}"
            raise LineError("no candidates", expected, "none", CLICKED + 1)
        random.Random(f"{self.given.seed}/{number}").shuffle(shown)
        return Impression(
            str(number),
            id_of(fields[USER], USER + 1),
            utc_seconds(fields[START], START + 1),
            ids_of(fields[HISTORY], HISTORY + 1),
            [each for each, _ in shown],
            " ".join([label for _, label in shown]),
        )
