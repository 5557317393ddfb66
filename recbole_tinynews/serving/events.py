"""Events of a site: exposures and clicks of articles."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recbole_tinynews.data.atomic_files import Indices, concatenate, read_impressions

CLICK, EXPOSURE = "click", "exposure"
LONGEST = 200  # characters of an id


class Event(NamedTuple):
    """An exposure or click, counted once per ``id``, at a UTC second; empty ``user``: unknown."""

    id: str
    kind: str
    article: str
    user: str
    time: int


class Refused(NamedTuple):
    """An event that does not count: its place in the batch, its id if it has one, and why."""

    place: int
    id: str | None
    why: str


class Tally(NamedTuple):
    """A user's clicks and exposures of an article: one event, or several at the first's time.

    ``shown`` and ``clicked`` are the times of the last exposure and the last click, -1 for none.
    """

    article: str
    user: str
    time: int
    clicks: int
    exposures: int
    shown: int
    clicked: int


def event_of(given: Any, known: Container[str] | None, earliest: float, latest: float) -> Event:
    """The event in a mapping; ``ValueError`` says why not. ``known``: ids; ``None``: any."""
    if isinstance(given, Event):
        given = given._asdict()
    if not isinstance(given, Mapping) or given.keys() != set(Event._fields):
        got = ", ".join(map(str, given)) if isinstance(given, Mapping) else type(given).__name__
        raise ValueError(f"Expected {', '.join(Event._fields)}, got {got[:LONGEST]}.")
    for name in ("id", "article", "user"):
        if not _is_id(given[name], may_be_empty=name == "user"):
            raise ValueError(f"Expected {name} as a text of 1 to {LONGEST} characters.")
    kind, article, time = given["kind"], given["article"], given["time"]
    if kind not in (CLICK, EXPOSURE):
        raise ValueError(f"Expected kind {EXPOSURE!r} or {CLICK!r}.")
    if known is not None and article not in known:
        raise ValueError(f"No article has the id {article!r}.")
    if isinstance(time, bool) or not isinstance(time, (int, float, np.integer)) or time != time:
        raise ValueError("Expected time as a number: UTC seconds.")
    if not time <= latest:
        raise ValueError(f"The time is in the future: UTC seconds up to {latest:.0f} are expected.")
    if time < earliest:
        raise ValueError(
            f"The time is before all windows: UTC seconds from {earliest:.0f} are expected."
        )
    return Event(given["id"], kind, article, given["user"], int(time))


def id_of(given: Any) -> str | None:
    """The id of a refused event, if it has one that can be sent back."""
    found = given.get("id") if isinstance(given, Mapping) else getattr(given, "id", None)
    return found if _is_id(found) else None


def _is_id(text: Any, may_be_empty: bool = False) -> bool:
    if not isinstance(text, str) or len(text) > LONGEST or not (text or may_be_empty):
        return False
    # PostgreSQL stores no NUL, and a lone surrogate cannot be encoded
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def data_set_events(folder: Path) -> Iterator[Event]:
    """Exposures and clicks of all splits in order of time; ``ValueError`` for a damaged file."""
    name, indices = folder.resolve().name, Indices()
    files = sorted(folder.glob(f"{name}.*.inter"))
    if not files:
        raise FileNotFoundError(f"{folder} expects impressions, {name}.train.inter, and has none.")
    log = concatenate(block for file in files for block in read_impressions(file, indices))
    articles, people = list(indices.news), list(indices.users)
    for row in np.argsort(log.timestamp, kind="stable").tolist():
        user, time = people[log.user[row]], int(log.timestamp[row])
        for place in range(*log.candidates.offsets[row : row + 2].tolist()):
            article = articles[log.candidates.values[place]]
            yield Event(f"{name} {place}", EXPOSURE, article, user, time)
            if log.labels[place] == 1:
                yield Event(f"{name} {place} click", CLICK, article, user, time)
