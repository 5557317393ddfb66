"""What callers give: articles as ids, titles, fields, tables or files, and readers' queries."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from recbole_tinynews.data.atomic_files import read_news
from recbole_tinynews.data.news_text import TITLE_ABSTRACT, with_abstract
from recbole_tinynews.evaluation.rerank import ReRanking
from recbole_tinynews.files.columns import ABSTRACT, BODY, GROUPS, PUBLISHED, TITLE
from recbole_tinynews.files.installation import library
from recbole_tinynews.serving.events import LATEST, Moment
from recbole_tinynews.settings.literals import packaged_folder
from recbole_tinynews.settings.values import suggest

Content = str | Mapping[str, str]
"""A title, or an article's fields by their names."""

Given = str | tuple[str, Content]
"""An id or title, or an id (empty if unknown) with a title or fields."""

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

    def select(self, content: Content) -> FieldTuple:
        """The fields read of a checked article; a string is a title without further fields."""
        if isinstance(content, str):
            content = {TITLE: content}
        if not self._one_text:
            return tuple(content.get(name, "") for name in self.names)
        abstract = content.get(ABSTRACT, "") if self._with_abstract else ""
        return (with_abstract(content[TITLE], abstract),)

    def article(self, article_id: str, content: Content) -> ArticleInput:
        """A checked article."""
        groups: Mapping[str, str] = {} if isinstance(content, str) else content
        values = tuple(groups.get(name, "") for name in GROUPS)
        return ArticleInput(article_id, self.select(content), values)

    def content(self, fields: FieldTuple) -> Content:
        """The inverse of ``select``: one text, or the fields of several views."""
        return fields[0] if self._one_text else dict(zip(self.names, fields, strict=True))

    def columns(self, articles: Sequence[FieldTuple]) -> dict[str, list[str]]:
        """The columns that ``encode_texts`` of a news encoder takes."""
        names = [TITLE] if self._one_text else self.names
        return {name: [fields[at] for fields in articles] for at, name in enumerate(names)}

    def data_set(self, item_file: Path) -> list[ArticleInput]:
        """The articles of an ``.item`` file."""
        news = read_news(item_file)
        rows = zip(*(getattr(news, name) for name in FIELDS), strict=True)
        contents = (dict(zip(FIELDS, row, strict=True)) for row in rows)
        return [*map(self.article, news.item_id, contents)]


def data_folders(data_path: str | Path | None) -> list[Path]:
    """Folders that may contain a data set's folder, by ``data_path`` as for ``load``."""
    if data_path is None:
        return [Path("dataset"), packaged_folder("dataset")]
    return [Path(data_path)]


def find_item_file(name: str, data_path: str | Path | None) -> Path | None:
    """A data set's ``.item`` file, or ``None``, by ``data_path`` as for ``load``."""
    files = (folder / name / f"{name}.item" for folder in data_folders(data_path))
    return next((file for file in files if file.is_file()), None)


def check_content(content: Content) -> None:
    """Check a title or mapping; ``ValueError``: fields or no title; ``TypeError``: not strings."""
    if isinstance(content, str):
        return
    for name, value in content.items():
        if name not in (ID, *FIELDS):
            raise ValueError(
                f"An article expects {', '.join(FIELDS)} and perhaps {ID}, got {name!r:.100}."
                f"{suggest(str(name), FIELDS)}"
            )
        if not isinstance(value, str):
            raise TypeError(f"An article expects texts, got {value!r:.100} as {name}.")
    if TITLE not in content:
        raise ValueError(f"An article expects a {TITLE}, got {', '.join(content) or 'nothing'}.")


def title_of(content: Content) -> str:
    """The title of an article, or an empty string."""
    return content if isinstance(content, str) else content.get(TITLE, "")


def name_of(article: Given) -> str:
    """The id in a pair or among fields; otherwise the text or title."""
    return article if isinstance(article, str) else article[0] or title_of(article[1])


def _is_article(value: Any) -> bool:
    """Whether it is a text, fields or an (id, content) tuple; a list is always several articles."""
    if isinstance(value, tuple):
        return (
            len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], (str, Mapping))
        )
    return isinstance(value, (str, Mapping))


def _articles(values: Any, what: str) -> list[Given]:
    """Checked articles of one reader; ``what`` names them in errors."""
    return [_checked(value, what) for value in _listed(values, what)]


def _checked(value: Any, what: str) -> Given:
    if isinstance(value, str):
        return value
    if not _is_article(value):
        raise TypeError(f"rank expects {what} as a list of texts, got {value!r:.100} in it.")
    article_id, content = value if isinstance(value, tuple) else (value.get(ID, ""), value)
    check_content(content)
    return article_id, content


def _listed(values: Any, what: str) -> list[Any]:
    """A list of values; ``TypeError`` for a string, a mapping or a set."""
    if isinstance(values, (str, bytes, Mapping, Set)) or not isinstance(values, Iterable):
        raise TypeError(f"rank expects {what} as a list of texts, got {values!r:.100}.")
    return list(values)


def articles_of(news: Any, fields: Collection[str]) -> dict[str, Content]:
    """Contents by id of ``Ranker.add_news``'s argument; of a table, ``fields`` and groups."""
    if isinstance(news, pd.DataFrame):
        pairs: Any = _pairs_of_table(news, fields)
    else:
        pairs = news.items() if isinstance(news, Mapping) else news
    if isinstance(pairs, (str, bytes)) or not isinstance(pairs, Iterable):
        raise TypeError(f"Articles expect a table, ids to titles, or pairs, got {news!r:.100}.")
    contents: dict[str, Content] = {}
    for row, pair in enumerate(pairs):
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise TypeError(f"Articles expect (id, title) pairs, got {pair!r:.100}.")
        article_id, content = pair
        values = content if isinstance(content, Mapping) else {TITLE: content}
        for name, value in {ID: article_id, **values}.items():
            if not isinstance(value, str):
                raise TypeError(
                    f"Articles expect texts, got {value!r:.100} as {name} of article {row} (from "
                    f"0). Leave it out, or give it an empty {name}."
                )
        check_content(content)
        if not article_id or article_id in contents:
            raise ValueError(
                f"Articles expect unique ids that are not empty, got {article_id!r}"
                f"{' twice' if article_id else ''} (article {row}, from 0)."
            )
        contents[article_id] = content
    return contents


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
    def pages(self) -> list[str]:
        """Id of the article whose page the reader is on, if it is known."""
        return [self.moment.page] if self.moment is not None and self.moment.page else []


def queries_of(
    history: Any,
    candidates: Any,
    at: Any = None,
    user: Any = None,
    rerank: Sequence[Any] = (),
    visit: Sequence[Any] = (None, None, None),
) -> tuple[list[Query], bool]:
    """The queries in the arguments of ``Ranker.rank``, and whether it is of a single user.

    ``candidates``: ``None`` for ``Ranker.top``; ``visit``: page, device and subscriber.
    """
    is_top = candidates is None
    lists = _listed(history, "history") if is_top else _listed(candidates, "candidates")
    one = not lists or any(map(_is_article, lists))
    histories = [history] if one else _listed(history, "history")
    lists = [()] * len(histories) if is_top else [lists] if one else lists
    if len(histories) != len(lists):
        raise ValueError(
            f"rank expects a history for each list of candidates, got {len(histories)} histories "
            f"and {len(lists)} lists of candidates."
        )
    moments = _moments_of(at, user, visit, len(lists), one)
    rerankers, queries = ReRanking.parse(rerank), []
    for number, moment in enumerate(moments):
        whose = "" if one else f" for user {number}"
        clicks = _articles(histories[number], f"history{whose}")
        shown = _articles(lists[number], f"candidates{whose}")
        if not (is_top or shown):
            raise ValueError(f"rank expects at least 1 candidate, got none{whose}.")
        queries.append(Query(clicks, shown, moment, rerankers))
    return queries, one


def _moments_of(
    at: Any, user: Any, visit: Sequence[Any], users: int, one: bool
) -> list[Moment | None]:
    if at is None:
        given = dict(zip(("user", "page", "device", "subscriber"), (user, *visit), strict=True))
        if alone := [name for name, value in given.items() if value is not None]:
            raise ValueError(f"rank expects {alone[0]} together with at, got {alone[0]} alone.")
        return [None] * users
    visits = [
        [value] * users if one or value is None else _listed(value, name)
        for name, value in zip(("page", "device", "subscriber"), visit, strict=True)
    ]
    times = list(at) if isinstance(at, (list, tuple)) else [at] * users
    names = [user] if one else [None] * users if user is None else _listed(user, "user")
    if {*map(len, (times, names, *visits))} != {users}:
        raise ValueError(
            f"rank expects at and user once for each of {users} histories, got {len(times)} and "
            f"{len(names)}; page, device and subscriber too, if they are given."
        )
    return [Moment.of(*parts) for parts in zip(times, names, *visits, strict=True)]
