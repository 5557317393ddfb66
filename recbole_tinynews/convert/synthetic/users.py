"""The readers of the synthetic world: a few interests each, which drift, and their clicks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recbole_tinynews.convert.synthetic.draws import normals, uniforms
from recbole_tinynews.convert.synthetic.world import (
    HISTORY_HOURS,
    LIFETIME,
    SPLIT_HOURS,
    Floats,
    GeneratedNews,
    Ints,
    Shelf,
    Topics,
)

# A reader's interests: their strengths, and which home category each comes from.
_STRENGTHS, _HOMES = np.array([1.0, 0.7, 0.7, 0.4]), np.array([0, 0, 1, 1])
_SWITCH_HOURS = 6 * HISTORY_HOURS  # within which each interest gives way to another one
_STRAY_CLICKS = 0.08  # share of clicks regardless of interests
_MEDIAN_CLICKS, _CLICKS_TAIL, _MOST_CLICKS = 17.5, 1.12, 400  # in four weeks; the mean is 32
_NEW_READERS = 0.012


class Interests(NamedTuple):
    """What readers like at a time; both of shape ``[readers, interests]``."""

    subtopics: Ints
    strengths: Floats


class Histories(NamedTuple):
    """News of reader i, oldest first: ``news[offsets[i]:offsets[i + 1]]``."""

    news: Ints
    hours: Floats
    offsets: Ints


class Readers:
    """Readers by number; everything about a reader depends only on the seed and the number."""

    def __init__(self, seed: int, topics: Topics, news: GeneratedNews) -> None:
        self.seed = seed
        self.topics = topics
        weight = news.exposure * np.exp(news.appeal + news.hot)
        self.by_time = Shelf(news.published, weight)
        self.by_subtopic = Shelf(news.published, weight, news.subtopic)

    def interests(self, readers: Ints, hours: Floats) -> Interests:
        """Interests of each reader at the hour beside it."""
        readers, slots = readers[:, None], np.arange(len(_STRENGTHS))
        switch = _SWITCH_HOURS * uniforms(self.seed, "switch", readers, slots)
        later = hours[:, None] >= switch
        home = uniforms(self.seed, "home", readers, _HOMES)
        away = uniforms(self.seed, "later home", readers, slots)
        category = self.topics.category[self.topics.pick(np.where(later, away, home))]
        subtopics = self.topics.pick_in(
            category, uniforms(self.seed, "interest", readers, slots, later)
        )
        return Interests(subtopics, np.broadcast_to(_STRENGTHS, subtopics.shape))

    def histories(self, readers: Ints, split: str) -> Histories:
        """Clicks of the four weeks that end one lifetime of news before the split begins."""
        end = SPLIT_HOURS[split][0] - LIFETIME
        last = SPLIT_HOURS["test"][0] - LIFETIME
        clicks = self._clicks_until(readers, last)
        row = np.repeat(np.arange(len(readers)), clicks)
        turn = np.arange(len(row)) - np.repeat(np.cumsum(clicks) - clicks, clicks)
        who = readers[row]
        hour = (turn + uniforms(self.seed, "click hour", who, turn)) / clicks[row] * last
        seen = (hour >= end - HISTORY_HOURS) & (hour < end)
        row, turn, who, hour = row[seen], turn[seen], who[seen], hour[seen]
        news = self._clicked(who, turn, hour)
        known = news >= 0
        offsets = np.searchsorted(row[known], np.arange(len(readers) + 1))
        return Histories(news[known], hour[known], offsets)

    def _clicks_until(self, readers: Ints, last: float) -> Ints:
        spread = _CLICKS_TAIL * normals(self.seed, "clicks", readers)
        clicks = np.minimum(_MEDIAN_CLICKS * np.exp(spread), _MOST_CLICKS) * last / HISTORY_HOURS
        new = uniforms(self.seed, "new reader", readers) < _NEW_READERS
        return np.where(new, 0, np.maximum(np.rint(clicks), 1)).astype(np.int64)

    def _clicked(self, who: Ints, turn: Ints, hour: Floats) -> Ints:
        """The article of each click, -1 where nothing is published yet."""
        interests = self.interests(who, hour)
        share = np.cumsum(_STRENGTHS) / _STRENGTHS.sum()
        slot = np.searchsorted(share, uniforms(self.seed, "click interest", who, turn))
        subtopic = interests.subtopics[np.arange(len(who)), slot]
        number = uniforms(self.seed, "click", who, turn)
        fresh = self.by_subtopic.draw(number, hour - LIFETIME, hour, subtopic)
        older = self.by_subtopic.draw(number, hour - 5 * LIFETIME, hour, subtopic)
        stray = self.by_time.draw(number, hour - LIFETIME, hour)
        news = np.where(fresh >= 0, fresh, older)
        strays = uniforms(self.seed, "stray", who, turn) < _STRAY_CLICKS
        return np.where(strays | (news < 0), stray, news)
