"""Columns of atomic files: names, RecBole types, order."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

PADDING = "[PAD]"  # RecBole's token for id 0

ITEM_ID, CATEGORY, SUBCATEGORY = "item_id", "category", "subcategory"
CATEGORIES = (CATEGORY, SUBCATEGORY)
SOURCE = "source"  # publisher
GROUPS = (*CATEGORIES, SOURCE)  # columns that re-rankers may limit
TITLE, ABSTRACT, BODY = "title", "abstract", "body"
PUBLISHED = "published"
IMPRESSION_ID, USER_ID, TIMESTAMP = "impression_id", "user_id", "timestamp"
HISTORY, CANDIDATES, LABELS = "history", "candidates", "labels"
CONTEXT_ARTICLE = "context_article"  # that the user was reading
DEVICE, SESSION, SUBSCRIBER = "device", "session", "subscriber"
# seconds on that page, and how much of it was seen, which is known only afterwards
READ_TIME, SCROLL_PERCENTAGE = "read_time", "scroll_percentage"
LABEL = "label"  # of one candidate, in flat data sets

# of NAME.item; BODY, PUBLISHED, SOURCE may follow
ITEM = (ITEM_ID, CATEGORY, SUBCATEGORY, TITLE, ABSTRACT)
# of NAME.<split>.inter; those of CONTEXT that the source has follow
INTER = (IMPRESSION_ID, USER_ID, TIMESTAMP, HISTORY, CANDIDATES, LABELS)
CONTEXT = (CONTEXT_ARTICLE, DEVICE, SESSION, SUBSCRIBER, READ_TIME, SCROLL_PERCENTAGE)
FLAT_ITEM = (ITEM_ID, CATEGORY, SUBCATEGORY)
FLAT_INTER = (USER_ID, ITEM_ID, LABEL, TIMESTAMP)

ID = "id"  # of an article, beside its fields, as callers give them
ID_COLUMNS = (ID, ITEM_ID, "news_id")  # of a table of articles

_TYPES = {
    **dict.fromkeys((ITEM_ID, CATEGORY, SUBCATEGORY, IMPRESSION_ID, USER_ID), "token"),
    **dict.fromkeys((CONTEXT_ARTICLE, DEVICE, SESSION), "token"),
    **dict.fromkeys((TITLE, ABSTRACT, BODY, HISTORY, CANDIDATES), "token_seq"),
    **dict.fromkeys((TIMESTAMP, LABEL, PUBLISHED), "float"),
    **dict.fromkeys((SUBSCRIBER, READ_TIME, SCROLL_PERCENTAGE), "float"),
    LABELS: "float_seq",
}


def is_token(column: str) -> bool:
    """Whether a column has ids or names rather than numbers."""
    return _TYPES[column] == "token"


def typed(columns: Iterable[str]) -> tuple[str, ...]:
    """Names with their types, as in a header.

    >>> typed([USER_ID, LABELS])
    ('user_id:token', 'labels:float_seq')
    """
    return tuple(f"{column}:{_TYPES[column]}" for column in columns)


def header(columns: Iterable[str]) -> str:
    """Header of an atomic file, without line end."""
    return "\t".join(typed(columns))


def has_impressions(data_set: Path) -> bool:
    """Whether rows are impressions (our format) rather than interactions."""
    file = data_set / f"{data_set.name}.train.inter"
    if not file.is_file():
        return False
    with file.open(encoding="utf-8", errors="replace") as lines:
        return typed([CANDIDATES])[0] in lines.readline().rstrip("\n").split("\t")
