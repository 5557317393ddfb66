"""The file of ``--bodies``: id, title and body, tab-separated, without a header."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from recbole_tinynews.convert.readers.fields import parse_id
from recbole_tinynews.convert.readers.parsed import parsed
from recbole_tinynews.convert.readers.rows import read_rows
from recbole_tinynews.convert.records import BodyRow, OnBadLine

BODY_COLUMNS = ("id", "title", "body")


def read_bodies(path: Path, on_bad_line: OnBadLine) -> Iterator[BodyRow]:
    """The bodies of a plain or gzip file; the titles are not kept."""
    return parsed(path, read_rows(path, BODY_COLUMNS, on_bad_line), _body, on_bad_line)


def _body(number: int, fields: list[str]) -> BodyRow:
    return BodyRow(number, parse_id(fields[0], column=1), fields[2])
