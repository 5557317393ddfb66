"""EB-NeRD's published layout, written from rows in plain Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

TIME = pa.timestamp("us")
NUMBER, ID, REAL, TEXT, FLAG = pa.uint32(), pa.int32(), pa.float32(), pa.string(), pa.bool_()
IDS = pa.list_(ID)
BEHAVIORS = pa.schema(
    {"impression_id": NUMBER, "article_id": ID, "impression_time": TIME, "read_time": REAL}
    | {"scroll_percentage": REAL, "device_type": pa.int8(), "article_ids_inview": IDS}
    | {"article_ids_clicked": IDS, "user_id": NUMBER, "session_id": NUMBER, "is_subscriber": FLAG}
)
HISTORY = pa.schema(
    {"user_id": NUMBER, "impression_time_fixed": pa.list_(TIME), "article_id_fixed": IDS}
    | {"scroll_percentage_fixed": pa.list_(REAL), "read_time_fixed": pa.list_(REAL)}
)
ARTICLES = pa.schema(
    {"article_id": ID, "title": TEXT, "subtitle": TEXT, "body": TEXT, "category": pa.int16()}
    | {"subcategory": pa.list_(pa.int16()), "category_str": TEXT, "published_time": TIME}
    | {"premium": FLAG}
)
SCHEMAS = {"behaviors": BEHAVIORS, "history": HISTORY, "articles": ARTICLES}


def at(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S")


def of_seconds(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc).replace(tzinfo=None)


IMPRESSIONS = (
    {"impression_id": 48401, "user_id": 22, "impression_time": at("2023-05-21 21:06:50")}
    | {"article_ids_inview": [11, 12, 13], "article_ids_clicked": [12]}
    | {"article_id": 14, "device_type": 2, "session_id": 3, "is_subscriber": False}
    | {"read_time": 61.3, "scroll_percentage": 100.0},
    {"impression_id": 152513, "user_id": 7, "impression_time": at("2023-05-24 07:31:26")}
    | {"article_ids_inview": [13, 11], "article_ids_clicked": []}
    | {"device_type": 1, "is_subscriber": True},
    {"impression_id": 155390, "user_id": 99, "impression_time": at("2023-05-24 07:30:33")}
    | {"article_ids_inview": [11], "article_ids_clicked": [11]},
)
HISTORIES = (
    # the second user's clicks are not in the order of time
    {"user_id": 22, "article_id_fixed": [13], "impression_time_fixed": [at("2023-05-01 10:00:00")]},
    {"user_id": 7, "article_id_fixed": [11, 14, 13]}
    | {"impression_time_fixed": [at(f"2023-05-0{day} 10:00:00") for day in (2, 1, 3)]},
)
NEWS = (
    {"article_id": 11, "title": "En titel", "subtitle": "Et resume", "body": "Brødtekst.\nMere."}
    | {"category": 142, "category_str": "sport", "subcategory": [196, 271]},
    {"article_id": 12, "title": "NA", "subtitle": "", "body": "", "category": 118}
    | {"category_str": "nyheder", "subcategory": []},
    {"article_id": 13, "title": 'Med\t"tegn"', "subtitle": None, "body": None, "category": 414}
    | {"category_str": None, "subcategory": None},
)


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]], row_group_size: int = 2) -> None:
    """Write ``behaviors``, ``history`` or ``articles``; a cell that a row lacks is missing."""
    schema = SCHEMAS[path.stem]
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: [row.get(name) for row in rows] for name in schema.names}
    pq.write_table(pa.table(columns, schema=schema), path, row_group_size=row_group_size)


def write_ebnerd(
    folder: Path,
    impressions: Sequence[Mapping[str, Any]] = IMPRESSIONS,
    histories: Sequence[Mapping[str, Any]] = HISTORIES,
    news: Sequence[Mapping[str, Any]] = NEWS,
    split: str = "train",
) -> Path:
    """A bundle with one split; returns the split's folder."""
    write_parquet(folder / "articles.parquet", news)
    write_parquet(folder / split / "behaviors.parquet", impressions)
    write_parquet(folder / split / "history.parquet", histories)
    return folder / split


def unlabelled(path: Path) -> None:
    """Take from ``behaviors`` what the published test set lacks."""
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["article_ids_clicked", "article_id"]), path)
