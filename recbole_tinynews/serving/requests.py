"""What a caller of ``rank`` or ``top`` passes, checked: users with clicks and candidates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, NamedTuple

Given = str | tuple[str, str]  # an id or a title, or both: (id, title)


class User(NamedTuple):
    """One user: what they clicked, oldest first, and what is to be ranked for them."""

    history: list[Given]
    candidates: list[Given]


def users_of(history: Any, candidates: Any) -> tuple[list[User], bool]:
    """The users of a request, and whether it was for one user.

    Raises:
        TypeError: what should be a list of texts or (id, title) pairs is something else.
        ValueError: no candidates, or not as many histories as lists of candidates.
    """
    candidates = listed(candidates, "candidates")
    one = not candidates or any(is_article(each) for each in candidates)
    if one:
        users = [User(articles(history, "history"), articles(candidates, "candidates"))]
    else:
        users = _many(history, candidates)
    for number, user in enumerate(users):
        if not user.candidates:
            place = "" if one else f" for user {number}"
            raise ValueError(f"rank expects at least 1 candidate, got none{place}.")
    return users, one


def histories_of(history: Any) -> tuple[list[list[Given]], bool]:
    """The histories of a request without candidates, and whether it was for one user.

    Raises:
        TypeError: what should be a list of texts or (id, title) pairs is something else.
    """
    given = listed(history, "history")
    one = not given or any(is_article(each) for each in given)
    if one:
        return [articles(given, "history")], one
    return [articles(each, f"history of user {n}") for n, each in enumerate(given)], one


def is_article(given: Any) -> bool:
    """Whether it is a text, or a tuple of an id and a title; a list is always several articles."""
    return isinstance(given, str) or _is_pair(given)


def name_of(given: Given) -> str:
    """What the caller calls an article: the id of a pair, else the text itself."""
    return given if isinstance(given, str) else given[0]


def listed(values: Any, what: str) -> list[Any]:
    """The values as a list.

    Raises:
        TypeError: they are no collection with an order, or a text.
    """
    if isinstance(values, (str, bytes, Mapping, Set)) or not isinstance(values, Iterable):
        raise TypeError(f"rank expects {what} as a list of texts, got {values!r:.100}.")
    return list(values)


def articles(values: Any, what: str) -> list[Given]:
    """The values as a list of texts or pairs.

    Raises:
        TypeError: they are something else.
    """
    given = listed(values, what)
    for each in given:
        if not is_article(each):
            raise TypeError(f"rank expects {what} as a list of texts, got {each!r:.100} in it.")
    return given


def _is_pair(given: Any) -> bool:
    return (
        isinstance(given, tuple)
        and len(given) == 2
        and all(isinstance(part, str) for part in given)
    )


def _many(history: Any, candidates: Sequence[Any]) -> list[User]:
    histories = listed(history, "history")
    if len(histories) != len(candidates):
        raise ValueError(
            f"rank expects a history for each list of candidates, got {len(histories)} histories "
            f"and {len(candidates)} lists of candidates."
        )
    return [
        User(articles(clicked, f"history of user {n}"), articles(shown, f"candidates of user {n}"))
        for n, (clicked, shown) in enumerate(zip(histories, candidates, strict=True))
    ]
