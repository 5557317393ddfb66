"""MIND: folders with ``behaviors.tsv`` and ``news.tsv``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from recbole_tinynews.convert.atomic import Impression, NewsItem, NewsRow
from recbole_tinynews.convert.errors import ConversionError, LineError, OnBadLine, quoted
from recbole_tinynews.convert.readers.cells import (
    duplicate,
    id_of,
    ids_of,
    mind_candidates,
    utc_seconds,
)
from recbole_tinynews.convert.readers.reader import Reader, missing_files, parsed, read_rows

IMPRESSIONS_FILE = "behaviors.tsv"
NEWS_FILE = "news.tsv"

IMPRESSION_COLUMNS = ("impression id", "user id", "time", "history", "impressions")
NEWS_COLUMNS = (
    "news id",
    "category",
    "subcategory",
    "title",
    "abstract",
    "url",
    "title entities",
    "abstract entities",
)


class MindReader(Reader):
    """Reads Microsoft's News Dataset, and data in its format."""

    expects = f"a folder with {IMPRESSIONS_FILE} and {NEWS_FILE}"
    impressions_file = IMPRESSIONS_FILE

    def problem(self, place: Path) -> str | None:
        """Describe a missing file."""
        return missing_files(place, (IMPRESSIONS_FILE, NEWS_FILE), self.expects)

    def news_files(self, place: Path) -> Sequence[Path]:
        """The folder's ``news.tsv``."""
        return [place / NEWS_FILE]

    def news_rows(self, path: Path) -> Iterable[tuple[int, Sequence[str]]]:
        """The rows of a ``news.tsv``."""
        return read_rows(path, NEWS_COLUMNS, self.on_bad_line)

    def article(self, path: Path, content: Sequence[str]) -> NewsRow:
        """An article, without urls and entities."""
        return NewsRow(NewsItem(id_of(content[0], column=1), *content[1:5]))

    def read_impressions(self, place: Path, labels_required: bool) -> Iterator[Impression]:
        """The impressions of a ``behaviors.tsv``."""
        return read_behaviors(place / IMPRESSIONS_FILE, self.on_bad_line, labels_required)


def read_behaviors(
    path: Path, on_bad_line: OnBadLine, labels_required: bool
) -> Iterator[Impression]:
    """Impressions, all labelled or none; ``ConversionError`` if most are of the other kind."""
    labelled = True if labels_required else None
    mismatched = 0
    lines: dict[str, int] = {}  # by impression id; 2.2 million fit in memory

    def parse(number: int, fields: list[str]) -> Impression:
        nonlocal labelled, mismatched
        impression = _parse_impression(fields)
        if labelled is None:
            labelled = bool(impression.labels)
        elif labelled is not bool(impression.labels):
            mismatched += 1
            raise _mismatched_labels(fields[4], labelled, labels_required)
        first = lines.setdefault(impression.impression_id, number)
        if first != number:
            raise duplicate("impression id", fields[0], 1, f" of line {first}")
        return impression

    yield from parsed(path, read_rows(path, IMPRESSION_COLUMNS, on_bad_line), parse, on_bad_line)
    if mismatched > len(lines):
        raise ConversionError(
            f"{path}: expected impressions all with labels or all without, got "
            f"{mismatched} {'without' if labelled else 'with'} and {len(lines)} "
            f"{'with' if labelled else 'without'}. Dropping the larger part would not be a "
            "repair: split the file in two."
        )


def _parse_impression(fields: list[str]) -> Impression:
    impression_id, user_id, time, history, candidates = fields
    return Impression(
        id_of(impression_id, column=1),
        id_of(user_id, column=2),
        utc_seconds(time, column=3),
        ids_of(history, column=4),
        *mind_candidates(candidates, column=5),
    )


def _mismatched_labels(candidates: str, labelled: bool, labels_required: bool) -> LineError:
    why = ", as in the lines before (a file has all or none)"
    if labels_required:
        why = " (only --test may go without labels)"
    if labelled:
        kind, expected = "candidate without label", f"-0 or -1 after each candidate{why}"
    else:
        kind, expected = "labelled among unlabelled", f"candidates without labels{why}"
    return LineError(kind, expected, quoted(candidates), column=5)
