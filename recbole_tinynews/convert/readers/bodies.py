"""The file of ``--bodies``: id, title and body, tab-separated, without a header."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from recbole_tinynews.convert.errors import LineError
from recbole_tinynews.convert.readers.fields import parse_id
from recbole_tinynews.convert.readers.rows import read_rows
from recbole_tinynews.convert.records import BodyRow, OnBadLine

BODY_COLUMNS = ("id", "title", "body")


def read_bodies(path: Path, on_bad_line: OnBadLine) -> Iterator[BodyRow]:
    """The bodies of a plain or gzip file; the titles are not kept."""
    for number, fields in read_rows(path, BODY_COLUMNS, on_bad_line):
        try:
            news_id = parse_id(fields[0], column=1)
        except LineError as error:
            on_bad_line(error.at(path, number))
        else:
            yield BodyRow(number, news_id, fields[2])
