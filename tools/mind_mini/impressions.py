"""Synthetic impressions: candidates and clicks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tools.mind_mini import world
from tools.mind_mini.users import Histories, Liking, Readers
from tools.mind_mini.world import Floats, GeneratedNews, Ints, Shelf, uniforms

_CANDIDATES_SHAPE, _MOST_CANDIDATES = 0.92, 300  # of a Weibull distribution
_NO_CLICK = 0.004  # share of impressions
_MEAN_EXTRA_CLICKS = 0.5  # beyond the first, at average length
_ACTIVITY_TAIL = 1.6  # 1: all readers are equally active
_FIRST_PEAK, _LAST_PEAK = 1.5, 12.0  # hours from publication to the most popular moment


class Law(NamedTuple):
    """Weights in the log odds of a click, and sizes: by default those of MIND.

    ``match``, ``hot``, ``appeal`` weight interests, hot words and hidden appeal; ``age`` the age in
    lifetimes; ``popularity`` one that rises and falls within hours. ``candidates`` scales their
    number, a Weibull distribution; ``clicks`` is the median of a reader in four weeks.
    """

    match: float = 3.1
    hot: float = 0.7
    appeal: float = 0.3
    age: float = -0.4
    popularity: float = 0.0
    candidates: float = 36.5
    clicks: float = 17.5

    def weights(self) -> dict[str, float]:
        """The weights in the log odds, by name."""
        used = ("match", "hot", "appeal", "age", *(["popularity"] if self.popularity else []))
        return {name: getattr(self, name) for name in used}


MOVING = Law(match=2.0, popularity=2.0, candidates=12, clicks=6)


class Impressions(NamedTuple):
    """A chunk of impressions; impression i has candidates ``offsets[i]`` to ``offsets[i + 1]``."""

    readers: Ints
    hours: Floats
    histories: Histories
    history_of: Ints  # impression -> row of histories
    candidates: Ints
    clicked: NDArray[np.bool_]
    log_odds: Floats
    text_log_odds: Floats  # estimated from titles and histories
    now_log_odds: Floats  # of appeal, age and popularity alone
    offsets: Ints


class ClickLog:
    """Generates impressions by split and number."""

    def __init__(
        self,
        seed: int,
        news: GeneratedNews,
        readers: Readers,
        number_of_readers: int,
        law: Law = Law(),  # noqa: B008 (immutable)
    ) -> None:
        self.seed, self.law, self.news = seed, law, news
        self.readers, self.number_of_readers = readers, number_of_readers
        self.shelf = Shelf(news.published, news.exposure)

    def impressions(self, split: str, start: int, stop: int) -> Impressions:
        """Impressions ``start`` to ``stop`` of a split, whatever the chunking."""
        index = np.arange(start, stop)
        activity = uniforms(self.seed, f"{split} reader", index) ** _ACTIVITY_TAIL
        readers = (activity * self.number_of_readers).astype(np.int64)
        begin, end = world.SPLIT_HOURS[split]
        hours = begin + (end - begin) * uniforms(self.seed, f"{split} hour", index)
        distinct, history_of = np.unique(readers, return_inverse=True)
        candidates, offsets = self._candidates(split, index, hours)
        histories = self.readers.histories(distinct, split)
        row = np.repeat(np.arange(len(index)), np.diff(offsets))
        liking = self.readers.liking(self.readers.interests(readers, hours))
        now = self._now_log_odds(candidates, hours[row])
        odds = self._text_log_odds(liking, row, candidates) + now
        apparent = self.readers.apparent_liking(histories)
        text_odds = self._text_log_odds(apparent, history_of[row], candidates)
        clicked = self._clicks(split, index, odds, offsets)
        shown = candidates, clicked, odds, text_odds, now, offsets
        return Impressions(readers, hours, histories, history_of, *shown)

    def _candidates(self, split: str, index: Ints, hours: Floats) -> tuple[Ints, Ints]:
        """Distinct articles of the last lifetime, drawn by exposure; fewer if too few exist."""
        number = uniforms(self.seed, f"{split} length", index)
        length = self.law.candidates * (-np.log(number)) ** (1 / _CANDIDATES_SHAPE)
        wanted = np.clip(np.rint(length), 2, _MOST_CANDIDATES).astype(np.int64)
        draws = wanted + wanted // 2 + 8
        row = np.repeat(np.arange(len(index)), draws)
        turn = _turn(draws)
        number = uniforms(self.seed, f"{split} candidate", index[row], turn)
        hour = hours[row]
        drawn = self.shelf.draw(number, hour - world.LIFETIME, hour)
        _, first = np.unique(row * len(self.news.label) + drawn, return_index=True)
        first.sort()
        kept = _turn(np.bincount(row[first], minlength=len(index))) < wanted[row[first]]
        first = first[kept]
        return drawn[first], np.searchsorted(row[first], np.arange(len(index) + 1))

    def _text_log_odds(self, liking: Liking, readers: Ints, candidates: Ints) -> Floats:
        """Log odds from subjects and hot words alone; ``readers`` are rows of ``liking``."""
        news = self.news
        match = liking.of(readers, news.theme[candidates], news.subtopic[candidates])
        return self.law.match * match + self.law.hot * news.hot[candidates]

    def _now_log_odds(self, candidates: Ints, hours: Floats) -> Floats:
        """Log odds that titles do not tell: hidden appeal, age, and popularity at the moment."""
        age = hours - self.news.published[candidates]
        odds = self.law.appeal * self.news.appeal[candidates] + self.law.age * (
            age / world.LIFETIME
        )
        if not self.law.popularity:
            return odds
        spread = uniforms(self.seed, "peak", candidates)
        time = age / (_FIRST_PEAK * (_LAST_PEAK / _FIRST_PEAK) ** spread)  # 1 at the peak
        strength = -np.log(uniforms(self.seed, "popularity", candidates))
        return odds + self.law.popularity * strength * time * np.exp(1 - time)

    def _clicks(
        self, split: str, index: Ints, log_odds: Floats, offsets: Ints
    ) -> NDArray[np.bool_]:
        """Draw the number of clicks, then candidates in proportion to odds (McFadden 1974)."""
        lengths = np.diff(offsets)
        extra_mean = _MEAN_EXTRA_CLICKS * np.sqrt(lengths / 32)
        decay = np.log1p(1 / extra_mean)
        number = uniforms(self.seed, f"{split} clicks", index)
        clicks = 1 + np.floor(-np.log(number) / decay).astype(np.int64)
        clicks[uniforms(self.seed, f"{split} no click", index) < _NO_CLICK] = 0
        clicks = np.minimum(clicks, np.maximum(lengths - 1, 0))
        row = np.repeat(np.arange(len(index)), lengths)
        # Gumbel-max trick: the largest are a sample in proportion to odds.
        number = uniforms(self.seed, f"{split} click", index[row], _turn(lengths))
        order = np.lexsort((-(log_odds - np.log(-np.log(number))), row))
        clicked = np.zeros(len(row), dtype=bool)
        clicked[order] = _turn(lengths) < clicks[row]
        return clicked


def _turn(lengths: Ints) -> Ints:
    return np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
