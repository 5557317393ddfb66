"""Articles given by a caller: a table, a mapping, pairs or a file."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_tinynews.data.atomic_files import read_news
from recbole_tinynews.files.columns import GROUPS, PUBLISHED, TITLE
from recbole_tinynews.serving.events import LATEST
from recbole_tinynews.serving.libraries import library
from recbole_tinynews.serving.reading import FIELDS, ID, Content, check_content

ID_COLUMNS = ("id", "item_id", "news_id")


def articles_of(news: Any, fields: Collection[str]) -> tuple[list[str], list[Content]]:
    """Ids and contents of ``Ranker.add_news``'s argument; of a table, ``fields`` and groups."""
    ids, contents = _columns(news, fields)
    seen: set[str] = set()
    for row, (name, content) in enumerate(zip(ids, contents, strict=True)):
        about = content if isinstance(content, Mapping) else {TITLE: content}
        for what, value in ((ID, name), *((each, about.get(each, "")) for each in FIELDS)):
            if not isinstance(value, str):
                raise TypeError(
                    f"Articles expect texts, got {value!r:.100} as {what} of article {row} (from "
                    f"0). Leave it out, or give it an empty {what}."
                )
        check_content(content)
        if not name or name in seen:
            raise ValueError(
                f"Articles expect unique ids that are not empty, got {name!r}"
                f"{' twice' if name else ''} (article {row}, from 0)."
            )
        seen.add(name)
    return ids, contents


def expect_news_file(path: Path) -> None:
    """Raise ``FileNotFoundError`` if there is no such file."""
    if not path.is_file():
        raise FileNotFoundError(
            f"Articles are expected in {path.absolute()}: there is no such file."
        )


def read_news_file(path: Path) -> pd.DataFrame:
    """Articles of parquet, csv, tsv (with header) or ``.item``; ``ValueError`` if unreadable."""
    expect_news_file(path)
    name = path.name.removesuffix(".gz")
    if name.endswith(".item"):
        news = read_news(path)
        names = (*FIELDS, PUBLISHED)
        return pd.DataFrame({ID: news.item_id, **{name: getattr(news, name) for name in names}})
    if name.endswith(".parquet"):
        library("pyarrow", "Parquet", "pyarrow. Csv files need nothing more.")
        return pd.read_parquet(path)
    if name.endswith((".csv", ".tsv")):
        separator = "," if name.endswith(".csv") else "\t"
        return pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False)
    raise ValueError(f"{path} expects .parquet, .csv, .tsv (with a header) or .item, got its name.")


def published_in(news: Any) -> dict[str, float]:
    """Publication times of a table's articles by id, UTC seconds; ``ValueError`` if no numbers."""
    if PUBLISHED not in getattr(news, "columns", ()):
        return {}
    ids = next(news[name] for name in ID_COLUMNS if name in news.columns)
    times = pd.to_numeric(news[PUBLISHED], errors="coerce")
    given = news[PUBLISHED].notna() & (news[PUBLISHED] != "")
    if not times[given].between(0, LATEST).all():
        wrong = news[PUBLISHED][given & ~times.between(0, LATEST)].iloc[0]
        raise ValueError(f"{PUBLISHED} of articles expects UTC seconds, got {wrong!r:.100}.")
    return dict(zip(ids[given], times[given].astype(float), strict=True))


def _columns(news: Any, fields: Collection[str]) -> tuple[list[Any], list[Any]]:
    if hasattr(news, "columns") and hasattr(news, "iloc"):
        return _columns_of_table(news, fields)
    pairs = news.items() if isinstance(news, Mapping) else news
    if isinstance(pairs, (str, bytes)) or not isinstance(pairs, Iterable):
        raise TypeError(f"Articles expect a table, ids to titles, or pairs, got {news!r:.100}.")
    both = list(pairs)
    for each in both:
        if not isinstance(each, tuple) or len(each) != 2:
            raise TypeError(f"Articles expect (id, title) pairs, got {each!r:.100}.")
    return [name for name, _ in both], [content for _, content in both]


def _columns_of_table(table: pd.DataFrame, fields: Collection[str]) -> tuple[list[Any], list[Any]]:
    named = [name for name in ID_COLUMNS if name in table.columns]
    if not named or TITLE not in table.columns:
        raise ValueError(
            f"A table of articles expects the columns {' or '.join(ID_COLUMNS)}, and "
            f"{TITLE}, got {', '.join(map(str, table.columns)) or 'none'}. Rename them."
        )
    read = {TITLE, *fields}
    wanted = [name for name in FIELDS if name in table.columns and name in read.union(GROUPS)]
    columns = {name: table[name].tolist() for name in wanted}
    for name in columns.keys() - read:  # for re-rankers alone: anything but text is unknown
        columns[name] = [each if isinstance(each, str) else "" for each in columns[name]]
    rows = zip(*columns.values(), strict=True)
    return table[named[0]].tolist(), [dict(zip(columns, row, strict=True)) for row in rows]
