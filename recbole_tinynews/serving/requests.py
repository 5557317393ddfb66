"""Arguments of ``Ranker``: articles as a table, mapping, pairs or file; users with candidates."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from recbole_tinynews.files.columns import PUBLISHED, TITLE
from recbole_tinynews.serving.live_counters import LATEST, Moment
from recbole_tinynews.serving.reading import FIELDS, ID, Content, check_content, title_of

if TYPE_CHECKING:
    import pandas as pd

ID_COLUMNS = ("id", "item_id", "news_id")


def articles_of(news: Any, fields: Collection[str]) -> tuple[list[str], list[Content]]:
    """Ids and contents of ``Ranker.add_news``'s argument; of a table, columns in ``fields``."""
    ids, contents = _columns(news, fields)
    for what, values in (("id", ids), *_fields_of(contents)):
        for row, value in enumerate(values):
            if not isinstance(value, str):
                raise TypeError(
                    f"Articles expect texts, got {value!r:.100} as {what} of article {row} (from "
                    f"0). Leave it out, or give it an empty {what}."
                )
    for content in contents:
        check_content(content)
    seen: set[str] = set()
    for row, name in enumerate(ids):
        if not name or name in seen:
            raise ValueError(
                f"Articles expect unique ids, got {name!r} "
                f"{'twice' if name else 'without a letter'} (article {row}, from 0)."
            )
        seen.add(name)
    return ids, contents


def _fields_of(contents: list[Any]) -> Iterator[tuple[str, list[Any]]]:
    rows = [each if isinstance(each, Mapping) else {TITLE: each} for each in contents]
    for name in FIELDS:
        yield name, [row.get(name, "") for row in rows]


def read_news_file(path: Path) -> pd.DataFrame:
    """Articles of parquet, csv, tsv (with header) or ``.item``; ``ValueError`` if unreadable."""
    import pandas as pd

    if not path.is_file():
        raise FileNotFoundError(
            f"Articles are expected in {path.absolute()}: there is no such file."
        )
    name = path.name.removesuffix(".gz")
    if name.endswith(".item"):
        from recbole_tinynews.data.atomic_files import read_news

        news = read_news(path)
        names = (*FIELDS, PUBLISHED)
        return pd.DataFrame({ID: news.item_id, **{name: getattr(news, name) for name in names}})
    if name.endswith(".parquet"):
        return pd.read_parquet(path)
    if name.endswith((".csv", ".tsv")):
        separator = "," if name.endswith(".csv") else "\t"
        return pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False)
    raise ValueError(f"{path} expects .parquet, .csv, .tsv (with a header) or .item, got its name.")


def published_in(news: Any) -> dict[str, float]:
    """Publication times of a table's articles by id, UTC seconds; ``ValueError`` if no numbers."""
    if PUBLISHED not in getattr(news, "columns", ()):
        return {}
    import pandas as pd

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
    read = [name for name in FIELDS if name in table.columns and name in {TITLE, *fields}]
    rows = zip(*(table[name].tolist() for name in read), strict=True)
    return table[named[0]].tolist(), [dict(zip(read, row, strict=True)) for row in rows]


Given = str | tuple[str, Content]  # id, title, or (id, title or fields)


class User(NamedTuple):
    """A user's clicks, oldest first, and the candidates to rank."""

    history: list[Given]
    candidates: list[Given]


def users_of(history: Any, candidates: Any) -> tuple[list[User], bool]:
    """The users in the arguments of ``Ranker.rank``, and whether it is a single user."""
    candidates = _listed(candidates, "candidates")
    one = not candidates or any(_is_article(each) for each in candidates)
    if one:
        users = [User(_articles(history, "history"), _articles(candidates, "candidates"))]
    else:
        users = _many(history, candidates)
    for number, user in enumerate(users):
        if not user.candidates:
            place = "" if one else f" for user {number}"
            raise ValueError(f"rank expects at least 1 candidate, got none{place}.")
    return users, one


def histories_of(history: Any) -> tuple[list[list[Given]], bool]:
    """``users_of`` for requests without candidates."""
    given = _listed(history, "history")
    one = not given or any(_is_article(each) for each in given)
    if one:
        return [_articles(given, "history")], one
    return [_articles(each, f"history of user {n}") for n, each in enumerate(given)], one


def moments_of(at: Any, user: Any, users: int, one: bool) -> list[Moment] | None:
    """Moment of each user's ranking, from the arguments of ``Ranker.rank``; ``None`` without."""
    if at is None:
        if user is not None:
            raise ValueError("rank expects user together with at, got user alone.")
        return None
    times = list(at) if isinstance(at, (list, tuple)) else [at] * users
    names = [user] if one else [None] * users if user is None else _listed(user, "user")
    if not len(times) == len(names) == users:
        raise ValueError(
            f"rank expects at and user once for each of {users} histories, got {len(times)} and "
            f"{len(names)}."
        )
    return [Moment.of(*each) for each in zip(times, names, strict=True)]


def name_of(given: Given) -> str:
    """The id in a pair or among fields; otherwise the text or title."""
    return given if isinstance(given, str) else given[0] or title_of(given[1])


def id_of(given: Given) -> str:
    """The id in a pair or among fields; empty for a title."""
    return "" if isinstance(given, str) else given[0]


def _many(history: Any, candidates: Sequence[Any]) -> list[User]:
    histories = _listed(history, "history")
    if len(histories) != len(candidates):
        raise ValueError(
            f"rank expects a history for each list of candidates, got {len(histories)} histories "
            f"and {len(candidates)} lists of candidates."
        )
    return [
        User(_articles(clicks, f"history of user {n}"), _articles(own, f"candidates of user {n}"))
        for n, (clicks, own) in enumerate(zip(histories, candidates, strict=True))
    ]


def _articles(values: Any, what: str) -> list[Given]:
    return [_article(each, what) for each in _listed(values, what)]


def _article(given: Any, what: str) -> Given:
    if isinstance(given, str):
        return given
    if not _is_article(given):
        raise TypeError(f"rank expects {what} as a list of texts, got {given!r:.100} in it.")
    name, content = given if isinstance(given, tuple) else (given.get(ID, ""), given)
    check_content(content)
    return name, content


def _is_article(given: Any) -> bool:
    """Whether it is a text, fields or an (id, content) tuple; a list is always several articles."""
    if isinstance(given, tuple):
        return (
            len(given) == 2 and isinstance(given[0], str) and isinstance(given[1], (str, Mapping))
        )
    return isinstance(given, (str, Mapping))


def _listed(values: Any, what: str) -> list[Any]:
    if isinstance(values, (str, bytes, Mapping, Set)) or not isinstance(values, Iterable):
        raise TypeError(f"rank expects {what} as a list of texts, got {values!r:.100}.")
    return list(values)
