"""Articles as callers give them: tables, mappings and files."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_tinynews.data.atomic_files import read_news
from recbole_tinynews.data.popularity import LATEST
from recbole_tinynews.files.columns import GROUPS, PUBLISHED, TITLE
from recbole_tinynews.files.installation import library
from recbole_tinynews.serving.article_index import FIELDS, ID, check_fields

ID_COLUMNS = (ID, "item_id", "news_id")


def articles_of(news: Any, names: Collection[str]) -> dict[str, Mapping[str, str]]:
    """Fields by id of ``Ranker.add_news``'s argument; of a table, those of ``names`` and groups."""
    if not isinstance(news, (pd.DataFrame, Mapping)):
        raise TypeError(f"Articles expect a table, or ids to titles or fields, got {news!r:.100}.")
    pairs = _pairs_of_table(news, names) if isinstance(news, pd.DataFrame) else news.items()
    articles: dict[str, Mapping[str, str]] = {}
    for row, (article_id, content) in enumerate(pairs):
        fields = content if isinstance(content, Mapping) else {TITLE: content}
        for name, value in {ID: article_id, **fields}.items():
            if not isinstance(value, str):
                raise TypeError(
                    f"Articles expect texts, got {value!r:.100} as {name} of article {row} (from "
                    f"0). Leave it out, or give it an empty {name}."
                )
        check_fields(fields)
        if not article_id or article_id in articles:
            raise ValueError(
                f"Articles expect unique ids that are not empty, got {article_id!r}"
                f"{' twice' if article_id else ''} (article {row}, from 0)."
            )
        articles[article_id] = fields
    return articles


def _pairs_of_table(table: pd.DataFrame, fields: Collection[str]) -> Iterable[tuple[Any, Any]]:
    id_columns = [name for name in ID_COLUMNS if name in table.columns]
    if not id_columns or TITLE not in table.columns:
        raise ValueError(
            f"A table of articles expects the columns {' or '.join(ID_COLUMNS)}, and "
            f"{TITLE}, got {', '.join(map(str, table.columns)) or 'none'}. Rename them."
        )
    used = {TITLE, *fields}
    names = [name for name in FIELDS if name in table.columns and name in used.union(GROUPS)]
    columns = {name: table[name].tolist() for name in names}
    for name in columns.keys() - used:  # for re-rankers alone: anything but text is unknown
        columns[name] = [value if isinstance(value, str) else "" for value in columns[name]]
    rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
    return zip(table[id_columns[0]].tolist(), rows, strict=True)


def read_news_file(path: Path) -> pd.DataFrame:
    """Articles of parquet, csv, tsv (with header) or ``.item``; ``ValueError`` if unreadable."""
    if not path.is_file():
        raise FileNotFoundError(
            f"Articles are expected in {path.absolute()}: there is no such file."
        )
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
    if not isinstance(news, pd.DataFrame) or PUBLISHED not in news.columns:
        return {}
    ids = next(news[name] for name in ID_COLUMNS if name in news.columns)
    times = pd.to_numeric(news[PUBLISHED], errors="coerce")
    has_time = news[PUBLISHED].notna() & (news[PUBLISHED] != "")
    wrong = news[PUBLISHED][has_time & ~times.between(0, LATEST)]
    if len(wrong):
        raise ValueError(
            f"{PUBLISHED} of articles expects UTC seconds, got {wrong.iloc[0]!r:.100}."
        )
    return dict(zip(ids[has_time], times[has_time].astype(float), strict=True))
