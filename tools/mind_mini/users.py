"""Synthetic readers: a few drifting interests each, and their clicks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tools.mind_mini import world
from tools.mind_mini.world import Floats, GeneratedNews, Ints, Shelf, Topics, normals, uniforms

# Strengths of a reader's interests: in a few themes, and in a few subtopics.
_OF_THEMES, _OF_SUBTOPICS = np.array([1.0, 0.8]), np.array([0.7, 0.5])
_STRENGTHS = np.concatenate([_OF_THEMES, _OF_SUBTOPICS])
_SWITCH_HOURS = 6 * world.HISTORY_HOURS  # each interest changes once in this period
_STRAY_CLICKS = 0.08  # share of clicks independent of interests
_CLICKS_TAIL, _MOST_CLICKS = 1.12, 400  # in four weeks
_NEW_READERS = 0.012


class Interests(NamedTuple):
    """Interests at a time, strongest first; both ``[readers, interests]``."""

    themes: Ints
    subtopics: Ints


class Liking(NamedTuple):
    """Liking of themes, ``[readers, themes]``, and of subtopics, ``[readers, subtopics]``."""

    themes: Floats
    subtopics: Floats

    def of(self, readers: Ints, themes: Ints, subtopics: Ints) -> Floats:
        """How much each reader (a row index) likes its article."""
        return self.themes[readers, themes] + self.subtopics[readers, subtopics]


class Histories(NamedTuple):
    """Histories, oldest first; reader i has ``news[offsets[i]:offsets[i + 1]]``."""

    news: Ints
    hours: Floats
    offsets: Ints


class Readers:
    """Readers by number, each determined by the seed and its number alone."""

    def __init__(
        self, seed: int, topics: Topics, news: GeneratedNews, median_clicks: float = 17.5
    ) -> None:
        self.seed, self.median_clicks = seed, median_clicks
        self.topics = topics
        weight = news.exposure * np.exp(news.appeal + news.hot)
        self.news = news
        self.by_time = Shelf(news.published, weight)
        # Each article twice: under its theme, and under its subtopic, numbered after the themes.
        subject = np.concatenate([news.theme, len(topics.themes) + news.subtopic])
        self.by_subject = Shelf(np.tile(news.published, 2), np.tile(weight, 2), subject)

    def interests(self, readers: Ints, hours: Floats) -> Interests:
        """Interests of each reader at its hour."""
        readers, slots = readers[:, None], np.arange(len(_STRENGTHS))
        switch = _SWITCH_HOURS * uniforms(self.seed, "switch", readers, slots)
        number = uniforms(self.seed, "interest", readers, slots, hours[:, None] >= switch)
        theme_numbers, subtopic_numbers = np.split(number, [len(_OF_THEMES)], axis=1)
        return Interests(self.topics.pick_theme(theme_numbers), self.topics.pick(subtopic_numbers))

    def liking(self, interests: Interests) -> Liking:
        """Liking that follows from interests."""
        themes = np.eye(len(self.topics.themes))[interests.themes]
        return Liking(
            np.einsum("k,rkt->rt", _OF_THEMES, themes),
            np.einsum("k,rks->rs", _OF_SUBTOPICS, self.topics.similarity[interests.subtopics]),
        )

    def apparent_liking(self, histories: Histories) -> Liking:
        """Expected liking given clicks per subject: independent themes, Poisson counts, untimed."""
        total = np.diff(histories.offsets)
        reader = np.repeat(np.arange(len(total)), total)

        def clicks(subject: Ints, number: int) -> NDArray:
            place = reader * number + subject[histories.news]
            return np.bincount(place, minlength=len(total) * number).reshape(-1, number)

        topics = self.topics
        themes, subtopics = len(topics.themes), len(topics.subtopics)
        theme_clicks = clicks(self.news.theme, themes)
        subtopic_clicks = clicks(self.news.subtopic, subtopics)
        share = np.diff(topics.cumulative_share, prepend=0.0)
        return Liking(
            _expected(theme_clicks, total, np.full(themes, 1 / themes), _OF_THEMES),
            _expected(subtopic_clicks, total, share, _OF_SUBTOPICS) @ topics.similarity,
        )

    def histories(self, readers: Ints, split: str) -> Histories:
        """Clicks of the four weeks that end one news lifetime before the split."""
        end = world.SPLIT_HOURS[split][0] - world.LIFETIME
        last = world.SPLIT_HOURS["test"][0] - world.LIFETIME
        clicks = self._clicks_until(readers, last)
        row = np.repeat(np.arange(len(readers)), clicks)
        turn = np.arange(len(row)) - np.repeat(np.cumsum(clicks) - clicks, clicks)
        who = readers[row]
        hour = (turn + uniforms(self.seed, "click hour", who, turn)) / clicks[row] * last
        seen = (hour >= end - world.HISTORY_HOURS) & (hour < end)
        row, turn, who, hour = row[seen], turn[seen], who[seen], hour[seen]
        news = self._clicked(who, turn, hour)
        known = news >= 0
        offsets = np.searchsorted(row[known], np.arange(len(readers) + 1))
        return Histories(news[known], hour[known], offsets)

    def _clicks_until(self, readers: Ints, last: float) -> Ints:
        spread = _CLICKS_TAIL * normals(self.seed, "clicks", readers)
        in_history = np.minimum(self.median_clicks * np.exp(spread), _MOST_CLICKS)
        clicks = in_history * last / world.HISTORY_HOURS
        new = uniforms(self.seed, "new reader", readers) < _NEW_READERS
        return np.where(new, 0, np.maximum(np.rint(clicks), 1)).astype(np.int64)

    def _clicked(self, who: Ints, turn: Ints, hour: Floats) -> Ints:
        """The article of each click, -1 if none is published yet."""
        interests = self.interests(who, hour)
        share = np.cumsum(_STRENGTHS) / _STRENGTHS.sum()
        slot = np.searchsorted(share, uniforms(self.seed, "click interest", who, turn))
        subjects = [interests.themes, len(self.topics.themes) + interests.subtopics]
        subject = np.concatenate(subjects, axis=1)[np.arange(len(who)), slot]
        number = uniforms(self.seed, "click", who, turn)
        fresh = self.by_subject.draw(number, hour - world.LIFETIME, hour, subject)
        older = self.by_subject.draw(number, hour - 5 * world.LIFETIME, hour, subject)
        stray = self.by_time.draw(number, hour - world.LIFETIME, hour)
        news = np.where(fresh >= 0, fresh, older)
        strays = uniforms(self.seed, "stray", who, turn) < _STRAY_CLICKS
        return np.where(strays | (news < 0), stray, news % len(self.news.label))


def _expected(clicks: NDArray, total: Ints, share: Floats, strengths: Floats) -> Floats:
    """Posterior mean strength of interests given ``clicks``, both ``[readers, subjects]``."""
    possible = np.concatenate([[0.0], strengths])[:, None, None]
    prior = np.where(possible > 0, share, 1 - len(strengths) * share)
    per_strength = (1 - _STRAY_CLICKS) / _STRENGTHS.sum()
    by_chance = (1 - per_strength * strengths.sum()) * share  # stray clicks, and other interests
    rate = np.maximum(total, 1e-9)[:, None] * (per_strength * possible + by_chance)
    weight = np.log(prior) + clicks * np.log(rate) - rate
    weight = np.exp(weight - weight.max(axis=0))
    return (possible * weight).sum(axis=0) / weight.sum(axis=0)
