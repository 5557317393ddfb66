"""Validates the arguments of ``Ranker``: users with clicks and candidates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import Any, NamedTuple

from recbole_tinynews.serving.live_counters import Moment
from recbole_tinynews.serving.reading import ID, Content, check_content, title_of

Given = str | tuple[str, Content]  # id, title, or (id, title or fields)


class User(NamedTuple):
    """A user's clicks, oldest first, and the candidates to rank."""

    history: list[Given]
    candidates: list[Given]


def users_of(history: Any, candidates: Any) -> tuple[list[User], bool]:
    """The users in the arguments of ``Ranker.rank``, and whether it is a single user."""
    candidates = _listed(candidates, "candidates")
    one = not candidates or any(map(_is_article, candidates))
    histories = [history] if one else _listed(history, "history")
    lists = [candidates] if one else candidates
    if len(histories) != len(lists):
        raise ValueError(
            f"rank expects a history for each list of candidates, got {len(histories)} histories "
            f"and {len(lists)} lists of candidates."
        )
    users = []
    for number, (clicks, shown) in enumerate(zip(histories, lists, strict=True)):
        whose = "" if one else f" for user {number}"
        user = User(_articles(clicks, f"history{whose}"), _articles(shown, f"candidates{whose}"))
        if not user.candidates:
            raise ValueError(f"rank expects at least 1 candidate, got none{whose}.")
        users.append(user)
    return users, one


def user_of(history: Any, candidates: Any) -> User:
    """The only user in such arguments; ``TypeError`` for several."""
    (user, *more), _ = users_of(history, candidates)
    if more:
        raise TypeError("contributions expects one user, got several.")
    return user


def histories_of(history: Any) -> tuple[list[list[Given]], bool]:
    """``users_of`` for requests without candidates."""
    given = _listed(history, "history")
    one = not given or any(map(_is_article, given))
    if one:
        return [_articles(given, "history")], one
    return [_articles(each, f"history for user {n}") for n, each in enumerate(given)], one


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
