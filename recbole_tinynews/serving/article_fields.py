"""What callers give: articles as ids, titles, fields or tables, and readers' queries."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pandas as pd

from recbole_tinynews.data.atomic_files import read_news
from recbole_tinynews.data.news_text import TITLE_ABSTRACT, with_abstract
from recbole_tinynews.data.popularity import LATEST
from recbole_tinynews.evaluation.rerank import ReRanking
from recbole_tinynews.files.columns import ABSTRACT, BODY, GROUPS, PUBLISHED, TITLE
from recbole_tinynews.files.installation import library
from recbole_tinynews.serving.events import Moment
from recbole_tinynews.settings.literals import packaged_folder
from recbole_tinynews.settings.values import suggest

Given = str | Mapping[str, str]
"""The id of an added article, or fields by their names, perhaps with an ``id``.

Before any article is added, a text is a title.
"""

FieldTuple = tuple[str, ...]
"""The fields that a recommender reads of an article: equal ones have equal vectors."""

ID = "id"  # of an article, beside its fields
ID_COLUMNS = (ID, "item_id", "news_id")
FIELDS = (TITLE, ABSTRACT, BODY, *GROUPS)


class ArticleInput(NamedTuple):
    """An article for a recommender: its id, the fields that it reads, and the values of GROUPS."""

    id: str
    fields: FieldTuple
    groups: tuple[str, ...]


class InputFields:
    """The article fields read; a single view is one text: the title, then any abstract read."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        views = settings.get("views") or [TITLE]  # an export has none: it reads titles
        self._one_text = views == [TITLE]
        self._with_abstract = TITLE in views and settings["news_text"] == TITLE_ABSTRACT
        self.names = tuple(dict.fromkeys([*views, *([ABSTRACT] if self._with_abstract else [])]))

    def select(self, fields: Mapping[str, str]) -> FieldTuple:
        """The fields read of a checked article."""
        if not self._one_text:
            return tuple(fields.get(name, "") for name in self.names)
        abstract = fields.get(ABSTRACT, "") if self._with_abstract else ""
        return (with_abstract(fields[TITLE], abstract),)

    def article(self, article_id: str, fields: Mapping[str, str]) -> ArticleInput:
        """A checked article."""
        groups = tuple(fields.get(name, "") for name in GROUPS)
        return ArticleInput(article_id, self.select(fields), groups)

    def columns(self, articles: Sequence[FieldTuple]) -> dict[str, list[str]]:
        """The columns that ``encode_texts`` of a news encoder takes."""
        names = [TITLE] if self._one_text else self.names
        return {name: [fields[at] for fields in articles] for at, name in enumerate(names)}

    def data_set(self, item_file: Path) -> list[ArticleInput]:
        """The articles of an ``.item`` file."""
        news = read_news(item_file)
        rows = zip(*(getattr(news, name) for name in FIELDS), strict=True)
        fields = (dict(zip(FIELDS, row, strict=True)) for row in rows)
        return [*map(self.article, news.item_id, fields)]


def data_folders(data_path: str | Path | None) -> list[Path]:
    """Folders that may contain a data set's folder, by ``data_path`` as for ``load``."""
    if data_path is None:
        return [Path("dataset"), packaged_folder("dataset")]
    return [Path(data_path)]


def find_item_file(name: str, data_path: str | Path | None) -> Path | None:
    """A data set's ``.item`` file, or ``None``, by ``data_path`` as for ``load``."""
    files = (folder / name / f"{name}.item" for folder in data_folders(data_path))
    return next((file for file in files if file.is_file()), None)


def check_fields(fields: Mapping[str, str]) -> None:
    """``ValueError`` for an unknown field or no title; ``TypeError`` for what is no string."""
    for name, value in fields.items():
        if name not in (ID, *FIELDS):
            raise ValueError(
                f"An article expects {', '.join(FIELDS)} and perhaps {ID}, got {name!r:.100}."
                f"{suggest(str(name), FIELDS)}"
            )
        if not isinstance(value, str):
            raise TypeError(f"An article expects texts, got {value!r:.100} as {name}.")
    if TITLE not in fields:
        raise ValueError(f"An article expects a {TITLE}, got {', '.join(fields) or 'nothing'}.")


def name_of(article: Given) -> str:
    """The id or title given."""
    return article if isinstance(article, str) else article.get(ID) or article[TITLE]


def _articles(values: Any, what: str) -> list[Given]:
    """Checked articles of one reader; ``what`` names them in errors."""
    articles = _listed(values, what)
    for article in articles:
        if isinstance(article, Mapping):
            check_fields(article)
        elif not isinstance(article, str):
            raise TypeError(f"rank expects {what} as a list of texts, got {article!r:.100} in it.")
    return articles


def _listed(values: Any, what: str) -> list[Any]:
    """A list of values; ``TypeError`` for a string, a mapping or a set."""
    if isinstance(values, (str, bytes, Mapping, Set)) or not isinstance(values, Iterable):
        raise TypeError(f"rank expects {what} as a list of texts, got {values!r:.100}.")
    return list(values)


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


class Query(NamedTuple):
    """A reader's clicks, oldest first, and candidates to rank (of ``top``: ``k``, all added)."""

    history: list[Given]
    candidates: list[Given]
    moment: Moment | None = None
    rerank: ReRanking = ReRanking()
    k: int = 0

    @property
    def page(self) -> str:
        """Id of the article whose page the reader is on, empty if unknown."""
        return "" if self.moment is None else self.moment.page


def queries_of(
    history: Any,
    candidates: Any,
    rerank: Sequence[Any] = (),
    moment: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[list[Query], bool]:
    """The queries in the arguments of ``Ranker.rank``, and whether it is of a single user.

    ``candidates``: ``None`` for ``Ranker.top``.
    """
    is_top = candidates is None
    lists = _listed(history, "history") if is_top else _listed(candidates, "candidates")
    one = not lists or any(isinstance(each, (str, Mapping)) for each in lists)
    histories = [history] if one else _listed(history, "history")
    lists = [()] * len(histories) if is_top else [lists] if one else lists
    if len(histories) != len(lists):
        raise ValueError(
            f"rank expects a history for each list of candidates, got {len(histories)} histories "
            f"and {len(lists)} lists of candidates."
        )
    rerankers, queries = ReRanking.parse(rerank), []
    for number, at_moment in enumerate(_moments_of(moment, len(lists))):
        whose = "" if one else f" for user {number}"
        clicks = _articles(histories[number], f"history{whose}")
        shown = _articles(lists[number], f"candidates{whose}")
        if not (is_top or shown):
            raise ValueError(f"rank expects at least 1 candidate, got none{whose}.")
        queries.append(Query(clicks, shown, at_moment, rerankers))
    return queries, one


def is_several(value: Any) -> bool:
    """Whether a part of a moment is given for each user: a list, an array or a column."""
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes))


def _moments_of(moment: Mapping[str, Any], users: int) -> list[Moment] | list[None]:
    if moment.get("at") is None:
        if alone := [name for name, value in moment.items() if value is not None]:
            raise ValueError(f"rank expects {alone[0]} together with at, got {alone[0]} alone.")
        return [None] * users
    columns = {
        name: list(value) if is_several(value) else [value] * users
        for name, value in moment.items()
    }
    for name, values in columns.items():
        if len(values) != users:
            raise ValueError(
                f"rank expects {name} once for each of {users} histories, got {len(values)}."
            )
    every = zip(*columns.values(), strict=True)
    return [Moment.of(**dict(zip(columns, parts, strict=True))) for parts in every]
