"""A small valid place of each format; tests spoil one row of it."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mind_folder import IMPRESSIONS, NEWS

COLUMNS = {"user": "reader", "time": "ts", "clicked": "url", "title": "headline"}
CLICKS = (
    ("reader", "ts", "url", "headline", "section"),
    ("anna", "2024-03-01T08:00:00", "/a", "Harbour, closed", "x"),
    ("ben", "2024-03-01 08:10:00+00:00", "/b", 'A "cup"', "x"),
    ("anna", "1709283600", "/c", "Trams", "x"),
    ("anna", "3/1/2024 9:00:00 AM", "/b", 'A "cup"', "x"),
    ("ben", "2024-03-02T09:00:00Z", "/c", "Trams", "x"),
    ("carl", "2024-03-02T10:00:00", "/a", "Harbour, closed", "x"),
)
SHOWN = (
    ("user", "time", "clicked", "shown", "impression"),
    ("anna", "1709283600", "b", "a b c", "i1"),
    ("anna", "1709283601", "", "a c", "i2"),
    ("anna", "1709370000", "c a", "c a", "i3"),
)
TABLE_NEWS = (
    ("id", "title", "category", "body"),
    ("a", "Harbour\nclosed", "x", "Long."),
    ("b", "Cup", "y", ""),
    ("c", "Trams", "", "Longer."),
)


class Good(NamedTuple):
    """A place, its files by name, and the settings to convert it with."""

    train: Path
    files: dict[str, Path]
    given: dict[str, Any]


def write_lines(path: Path, *rows: str) -> Path:
    """A lone surrogate stands for a byte that is not UTF-8."""
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes("".join(f"{row}\n" for row in rows).encode("utf-8", "surrogateescape"))
    return path


def write_table(path: Path, rows: Sequence[Sequence[str]], delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return path


def mind(folder: Path) -> Good:
    rows = {"behaviors": IMPRESSIONS, "news": NEWS}
    files = {name: write_lines(folder / f"{name}.tsv", *rows[name]) for name in rows}
    files["bodies"] = write_lines(folder / "bodies.tsv", "N2\tt\tbody")
    return Good(folder, files, {"bodies": files["bodies"]})


def clicks(folder: Path) -> Good:
    folder.mkdir(parents=True, exist_ok=True)
    table = write_table(folder / "clicks.csv", CLICKS)
    return Good(table, {"clicks": table}, {"format": "table", "columns": COLUMNS})


def shown(folder: Path) -> Good:
    folder.mkdir(parents=True, exist_ok=True)
    table = write_table(folder / "shown.csv", SHOWN)
    news = write_table(folder / "news.csv", TABLE_NEWS)
    return Good(table, {"shown": table, "news": news}, {"format": "table", "news": [news]})


def ebnerd(folder: Path, **more: Mapping[str, Any]) -> Good:
    """``more`` has a row for one of the files."""
    from ebnerd_folder import HISTORIES, NEWS, write_ebnerd
    from ebnerd_folder import IMPRESSIONS as ROWS

    rows = {"behaviors": ROWS, "history": HISTORIES, "articles": NEWS}
    rows = {name: (*of, *([more[name]] if name in more else [])) for name, of in rows.items()}
    train = write_ebnerd(folder, rows["behaviors"], rows["history"], rows["articles"])
    files = {name: train / f"{name}.parquet" for name in ("behaviors", "history")}
    return Good(train, {**files, "articles": folder / "articles.parquet"}, {})


PLACES: tuple[Callable[..., Good], ...] = (mind, clicks, shown, ebnerd)
GOOD = {place.__name__: place for place in PLACES}
