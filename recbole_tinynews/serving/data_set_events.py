"""Events of a data set's impressions, from its atomic files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from recbole_tinynews.data.atomic_files import TokenIndex, concatenate, read_impressions
from recbole_tinynews.serving.events import CLICK, EXPOSURE, Event


def data_set_events(folder: Path) -> Iterator[Event]:
    """Exposures and clicks of all splits in order of time; ``ValueError`` for a damaged file."""
    name, news, users = folder.resolve().name, TokenIndex(), TokenIndex()
    files = sorted(folder.glob(f"{name}.*.inter"))
    if not files:
        raise FileNotFoundError(f"{folder} expects impressions, {name}.train.inter, and has none.")
    log = concatenate([read_impressions(file, news, users) for file in files])
    articles, people = list(news), list(users)
    for row in np.argsort(log.timestamp, kind="stable").tolist():
        user, time = people[log.user[row]], int(log.timestamp[row])
        for place in range(*log.candidates.offsets[row : row + 2].tolist()):
            article = articles[log.candidates.values[place]]
            yield Event(f"{name} {place}", EXPOSURE, article, user, time)
            if log.labels[place] == 1:
                yield Event(f"{name} {place} click", CLICK, article, user, time)
