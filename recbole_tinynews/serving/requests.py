"""What a caller of ``rank`` or ``top`` passes, checked: users with clicks and candidates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, NamedTuple

from recbole_tinynews.files.columns import TITLE
from recbole_tinynews.serving.reading import ID, Content, check_fields

Given = str | tuple[str, Content]  # an id or a title, or both: (id, title or fields)


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
    """Whether it is a text, fields, or a tuple with an id; a list is always several articles."""
    return isinstance(given, (str, Mapping)) or _is_pair(given)


def name_of(given: Given) -> str:
    """What the caller calls an article: the id of a pair or of fields, else its text or title."""
    if isinstance(given, str):
        return given
    name, content = given
    return name or (content[TITLE] if isinstance(content, Mapping) else "")


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
        ValueError: an article has unknown fields, or no title.
        TypeError: they are something else.
    """
    given = listed(values, what)
    for each in given:
        if not is_article(each):
            raise TypeError(f"rank expects {what} as a list of texts, got {each!r:.100} in it.")
    return [_by_name(each) if isinstance(each, Mapping) else each for each in given]


def _by_name(fields: Mapping[str, str]) -> Given:
    """An article by its fields as a pair; one without an id has an empty one, as no other has."""
    check_fields(fields)
    return fields.get(ID, ""), fields


def _is_pair(given: Any) -> bool:
    return (
        isinstance(given, tuple)
        and len(given) == 2
        and isinstance(given[0], str)
        and isinstance(given[1], (str, Mapping))
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
