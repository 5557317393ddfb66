"""Articles as a caller has them: a table, a mapping, pairs, or a file with one of these."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_tinynews.data.news_text import with_abstract

if TYPE_CHECKING:
    import pandas as pd

ID_COLUMNS = ("id", "item_id", "news_id")
TITLE_COLUMN, ABSTRACT_COLUMN = "title", "abstract"


def articles_of(news: Any, reads_abstracts: bool) -> tuple[list[str], list[str]]:
    """Ids and texts of articles, one text as the recommender reads it.

    Args:
        news: a DataFrame with an id (``id``, ``item_id`` or ``news_id``), ``title`` and perhaps
            ``abstract``; ids to titles; or (id, title) pairs.
        reads_abstracts: whether the abstract follows the title.

    Raises:
        ValueError: a column is missing, an id is empty or occurs twice.
        TypeError: it is something else, or an id or title is no text.
    """
    ids, titles, abstracts = _columns(news)
    for what, values in (("id", ids), ("title", titles), ("abstract", abstracts)):
        for row, value in enumerate(values):
            if not isinstance(value, str):
                raise TypeError(
                    f"Articles expect texts, got {value!r:.100} as {what} of article {row} (from "
                    "0). Leave it out, or give it an empty title."
                )
    seen: set[str] = set()
    for row, name in enumerate(ids):
        if not name or name in seen:
            raise ValueError(
                f"Articles expect unique ids, got {name!r} "
                f"{'twice' if name else 'without a letter'} (article {row}, from 0)."
            )
        seen.add(name)
    if reads_abstracts and abstracts:
        titles = [with_abstract(*each) for each in zip(titles, abstracts, strict=True)]
    return ids, titles


def read_news_file(path: Path) -> pd.DataFrame:
    """A table of articles: parquet, csv or tsv with a header, or the ``.item`` of a data set.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is of another kind, or cannot be read.
    """
    import pandas as pd

    if not path.is_file():
        raise FileNotFoundError(
            f"Articles are expected in {path.absolute()}: there is no such file."
        )
    name = path.name.removesuffix(".gz")
    if name.endswith(".item"):
        from recbole_tinynews.data.atomic_files import read_news

        news = read_news(path)
        return pd.DataFrame({"id": news.item_id, "title": news.title, "abstract": news.abstract})
    if name.endswith(".parquet"):
        return pd.read_parquet(path)
    if name.endswith((".csv", ".tsv")):
        separator = "," if name.endswith(".csv") else "\t"
        return pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False)
    raise ValueError(f"{path} expects .parquet, .csv, .tsv (with a header) or .item, got its name.")


def _columns(news: Any) -> tuple[list[Any], list[Any], list[Any]]:
    if hasattr(news, "columns") and hasattr(news, "iloc"):
        return _columns_of_table(news)
    pairs = news.items() if isinstance(news, Mapping) else news
    if isinstance(pairs, (str, bytes)) or not isinstance(pairs, Iterable):
        raise TypeError(f"Articles expect a table, ids to titles, or pairs, got {news!r:.100}.")
    both = list(pairs)
    for each in both:
        if not isinstance(each, tuple) or len(each) != 2:
            raise TypeError(f"Articles expect (id, title) pairs, got {each!r:.100}.")
    return [name for name, _ in both], [title for _, title in both], []


def _columns_of_table(table: pd.DataFrame) -> tuple[list[Any], list[Any], list[Any]]:
    named = [name for name in ID_COLUMNS if name in table.columns]
    if not named or TITLE_COLUMN not in table.columns:
        raise ValueError(
            f"A table of articles expects the columns {' or '.join(ID_COLUMNS)}, and "
            f"{TITLE_COLUMN}, got {', '.join(map(str, table.columns)) or 'none'}. Rename them."
        )
    abstracts = table[ABSTRACT_COLUMN].tolist() if ABSTRACT_COLUMN in table.columns else []
    return table[named[0]].tolist(), table[TITLE_COLUMN].tolist(), abstracts
