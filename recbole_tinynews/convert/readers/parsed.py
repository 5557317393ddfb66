"""The loop over the rows of a file, the same for every format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from recbole_tinynews.convert.errors import LineError
from recbole_tinynews.convert.records import OnBadLine

Content = TypeVar("Content")
Record = TypeVar("Record")


def parsed(
    path: Path,
    rows: Iterable[tuple[int, Content]],
    parse: Callable[[int, Content], Record],
    on_bad_line: OnBadLine,
) -> Iterator[Record]:
    """What ``parse`` makes of each row, given its number and content.

    A row that it refuses with a ``LineError`` goes to ``on_bad_line``, with path and number. Each
    record is used before the next row is parsed, so ``parse`` may compare rows with those before.
    """
    for number, content in rows:
        try:
            record = parse(number, content)
        except LineError as error:
            on_bad_line(error.at(path, number))
        else:
            yield record
