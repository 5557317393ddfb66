"""Synthetic news: publication, subjects, appeal; random numbers independent of their order."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tools.mind_mini.lexicon import Subtopic, Theme, subtopics, themes

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]

# Hours since the first article. As in MIND, histories cover four weeks before the log; a gap of one
# lifetime keeps candidates out of them.
LIFETIME = 48.0
HISTORY_HOURS = 28 * 24.0
LOG_START = HISTORY_HOURS + LIFETIME
SPLIT_HOURS = {
    "train": (LOG_START, LOG_START + 6 * 24),
    "valid": (LOG_START + 6 * 24, LOG_START + 7 * 24),
    "test": (LOG_START + 7 * 24, LOG_START + 8 * 24),
}
END = SPLIT_HOURS["test"][1]
CLOCK_START = np.datetime64("2019-10-10T00:00:00")

_HISTORY_DENSITY = 1 / 3  # publication rate before the log, relative to the log days
_SAME_CATEGORY = 0.4  # similarity of subtopics within a category; otherwise 0
_EXPOSURE_TAIL = 0.9  # standard deviation of log exposure
_APPEAL_TAIL = 1.0  # standard deviation of appeal, invisible in titles
_HOT_SHARE = 0.2  # share of titles with a hot word
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def uniforms(seed: int, purpose: str, *counters: ArrayLike) -> NDArray[np.float64]:
    """Uniforms in (0, 1), one per element of the broadcast ``counters``.

    A pure function (SplitMix64, Steele et al. 2014): impression 7 gets the same numbers alone or
    among a million.

    >>> bool(uniforms(1, "clicks", [5, 7])[1] == uniforms(1, "clicks", 7))
    True
    """
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    state = np.array(int.from_bytes(digest[:8], "little"), dtype=np.uint64)
    with np.errstate(over="ignore"):  # wraps modulo 2**64 by design
        for counter in counters:
            steps = np.asarray(counter).astype(np.uint64) + np.uint64(1)
            state = state + steps * _GOLDEN
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return ((state >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def normals(seed: int, purpose: str, *counters: ArrayLike) -> NDArray[np.float64]:
    """Standard normals from ``uniforms`` (Box and Muller 1958)."""
    radius = np.sqrt(-2 * np.log(uniforms(seed, purpose + "/radius", *counters)))
    return radius * np.cos(2 * np.pi * uniforms(seed, purpose + "/angle", *counters))


class GeneratedNews(NamedTuple):
    """Articles, oldest first; every field is ``[news]``."""

    published: Floats
    subtopic: Ints
    theme: Ints
    hot: NDArray[np.bool_]
    appeal: Floats
    exposure: Floats
    label: Ints  # number in the id, unrelated to age


class Topics(NamedTuple):
    """Subtopics, similar by ``[subtopics, subtopics]``, and independent, equally common themes."""

    subtopics: list[Subtopic]
    cumulative_share: Floats  # of the subtopics
    similarity: Floats
    category: Ints  # category index of each subtopic
    themes: list[Theme]

    def pick(self, numbers: ArrayLike) -> Ints:
        """Subtopics at quantiles in (0, 1)."""
        return np.searchsorted(self.cumulative_share, numbers, side="right").astype(np.int64)

    def pick_theme(self, numbers: Floats) -> Ints:
        """Themes at quantiles in (0, 1)."""
        return (numbers * len(self.themes)).astype(np.int64)


def make_topics(seed: int) -> Topics:
    """Topics of the lexicon, with long-tailed shares of the news."""
    known = subtopics()
    share = np.exp(0.5 * normals(seed, "topic share", np.arange(len(known))))
    cumulative = np.cumsum(share / share.sum())
    cumulative[-1] = 1.0
    names = list(dict.fromkeys(topic.category for topic in known))
    category = np.array([names.index(topic.category) for topic in known])
    similarity = np.where(category[:, None] == category, _SAME_CATEGORY, 0.0)
    np.fill_diagonal(similarity, 1.0)
    return Topics(known, cumulative, similarity, category, themes())


def make_news(seed: int, number: int, topics: Topics) -> GeneratedNews:
    """Draw ``number`` articles over the whole period."""
    index = np.arange(number)
    return GeneratedNews(
        published=_publication((index + uniforms(seed, "published", index)) / number),
        subtopic=topics.pick(uniforms(seed, "subtopic", index)),
        theme=topics.pick_theme(uniforms(seed, "theme", index)),
        hot=uniforms(seed, "hot", index) < _HOT_SHARE,
        appeal=_APPEAL_TAIL * normals(seed, "appeal", index),
        exposure=np.exp(_EXPOSURE_TAIL * normals(seed, "exposure", index)),
        label=1 + np.argsort(np.argsort(uniforms(seed, "label", index))),
    )


def _publication(position: Floats) -> Floats:
    """The hour by which this share of articles is published."""
    dense_hours = END - HISTORY_HOURS
    history_part = HISTORY_HOURS * _HISTORY_DENSITY
    share = history_part / (history_part + dense_hours)
    return np.interp(position, [0, share, 1], [0, HISTORY_HOURS, END])


class Shelf:
    """Weighted sampling of articles by time span and, optionally, group."""

    def __init__(self, published: Floats, weight: Floats, group: Ints | None = None) -> None:
        group = np.zeros(len(published), dtype=np.int64) if group is None else group
        self.news = np.lexsort((published, group))
        self.key = self._place(group[self.news], published[self.news])
        self.cumulative = np.concatenate([[0.0], np.cumsum(weight[self.news])])

    @staticmethod
    def _place(group: ArrayLike, hour: ArrayLike) -> Floats:
        return np.asarray(group) * (4 * END) + np.asarray(hour)

    def draw(self, numbers: Floats, start: Floats, end: Floats, group: ArrayLike = 0) -> Ints:
        """For each number, an article published in ``[start, end)``, or -1 if there is none."""
        low = np.searchsorted(self.key, self._place(group, np.maximum(start, 0)))
        high = np.searchsorted(self.key, self._place(group, end))
        below, above = self.cumulative[low], self.cumulative[high]
        place = np.searchsorted(self.cumulative, below + numbers * (above - below), side="right")
        chosen = self.news[np.clip(place - 1, low, np.maximum(high - 1, low)) % len(self.news)]
        return np.where(high > low, chosen, -1)
