"""Tables whose columns the user names: a csv, tsv or parquet file, read by role."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from recbole_tinynews.convert.readers.delimited import delimiter_of, header_of, read_records
from recbole_tinynews.convert.readers.parquet import ANY, column_names, read_rows
from recbole_tinynews.convert.records import OnBadLine

KINDS = "a .csv, .tsv or .parquet file"
PARQUET = ".parquet"


class Cells(NamedTuple):
    """The cells of one row by role, where its file has such a column, and its number."""

    number: int
    of: dict[str, Any]


class OwnTables:
    """Reads tables; ``columns`` has the roles whose column has another name than the role."""

    def __init__(self, columns: Mapping[str, str]) -> None:
        self._columns = columns

    def column(self, role: str) -> str:
        """The name of a role's column."""
        return self._columns.get(role, role)

    def missing(self, path: Path, roles: Iterable[str]) -> str | None:
        """A sentence on the columns that a table lacks.

        Raises:
            ConversionError: it can't be read.
        """
        names = names_of(path)
        missing = [self.column(role) for role in roles if self.column(role) not in names]
        if not missing:
            return None
        return (
            f"expected a column {' and a column '.join(missing)}, found {', '.join(names)}. Name "
            "others with --columns."
        )

    def roles(self, path: Path, roles: Iterable[str]) -> list[str]:
        """Those of the roles that a table has a column for.

        Raises:
            ConversionError: it can't be read.
        """
        names = names_of(path)
        return [role for role in roles if self.column(role) in names]

    def read(self, path: Path, roles: Iterable[str], on_bad_line: OnBadLine) -> Iterator[Cells]:
        """The rows.

        Raises:
            ConversionError: the table can't be read.
        """
        columns = {role: self.column(role) for role in self.roles(path, roles)}
        rows: Iterable[tuple[int, Mapping[str, Any]]]
        if path.suffix == PARQUET:
            rows = read_rows(path, dict.fromkeys(columns.values(), ANY))
        else:
            rows = read_records(path, on_bad_line)
        for number, cells in rows:
            yield Cells(number, {role: cells[name] for role, name in columns.items()})


def is_table(path: Path) -> bool:
    """Whether the end of a file's name is that of a table."""
    return path.suffix == PARQUET or delimiter_of(path) is not None


def names_of(path: Path) -> list[str]:
    """The names of a table's columns.

    Raises:
        ConversionError: it can't be read.
    """
    return column_names(path) if path.suffix == PARQUET else header_of(path)
