"""Synthetic impressions: candidates and clicks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.convert.synthetic.draws import uniforms
from recbole_tinynews.convert.synthetic.users import Histories, Liking, Readers
from recbole_tinynews.convert.synthetic.world import (
    LIFETIME,
    SPLIT_HOURS,
    Floats,
    GeneratedNews,
    Ints,
    Shelf,
)

_CANDIDATES_SCALE, _CANDIDATES_SHAPE, _MOST_CANDIDATES = 36.5, 0.92, 300  # Weibull: as in MIND
_NO_CLICK = 0.004  # share of impressions
_MEAN_EXTRA_CLICKS = 0.5  # beyond the first, at average length
_ACTIVITY_TAIL = 1.6  # 1: all readers are equally active

# Weights of match, hot, appeal, and age in lifetimes, in the log odds of a click.
MATCH_WEIGHT, HOT_WEIGHT, APPEAL_WEIGHT, AGE_WEIGHT = 3.1, 0.7, 0.3, -0.4


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
    offsets: Ints


class ClickLog:
    """Generates impressions by split and number."""

    def __init__(
        self, seed: int, news: GeneratedNews, readers: Readers, number_of_readers: int
    ) -> None:
        self.seed = seed
        self.news = news
        self.readers = readers
        self.number_of_readers = number_of_readers
        self.shelf = Shelf(news.published, news.exposure)

    def impressions(self, split: str, start: int, stop: int) -> Impressions:
        """Impressions ``start`` to ``stop`` of a split, whatever the chunking."""
        index = np.arange(start, stop)
        activity = uniforms(self.seed, f"{split} reader", index) ** _ACTIVITY_TAIL
        readers = (activity * self.number_of_readers).astype(np.int64)
        begin, end = SPLIT_HOURS[split]
        hours = begin + (end - begin) * uniforms(self.seed, f"{split} hour", index)
        distinct, history_of = np.unique(readers, return_inverse=True)
        candidates, offsets = self._candidates(split, index, hours)
        histories = self.readers.histories(distinct, split)
        row = np.repeat(np.arange(len(index)), np.diff(offsets))
        liking = self.readers.liking(self.readers.interests(readers, hours))
        age = (hours[row] - self.news.published[candidates]) / LIFETIME
        odds = self._text_log_odds(liking, row, candidates)
        odds += APPEAL_WEIGHT * self.news.appeal[candidates] + AGE_WEIGHT * age
        apparent = self.readers.apparent_liking(histories)
        text_odds = self._text_log_odds(apparent, history_of[row], candidates)
        return Impressions(
            readers,
            hours,
            histories,
            history_of,
            candidates,
            self._clicks(split, index, odds, offsets),
            odds,
            text_odds,
            offsets,
        )

    def _candidates(self, split: str, index: Ints, hours: Floats) -> tuple[Ints, Ints]:
        """Distinct articles of the last lifetime, drawn by exposure; fewer if too few exist."""
        number = uniforms(self.seed, f"{split} length", index)
        length = _CANDIDATES_SCALE * (-np.log(number)) ** (1 / _CANDIDATES_SHAPE)
        wanted = np.clip(np.rint(length), 2, _MOST_CANDIDATES).astype(np.int64)
        draws = wanted + wanted // 2 + 8
        row = np.repeat(np.arange(len(index)), draws)
        turn = _turn(draws)
        number = uniforms(self.seed, f"{split} candidate", index[row], turn)
        hour = hours[row]
        drawn = self.shelf.draw(number, hour - LIFETIME, hour)
        _, first = np.unique(row * len(self.news.label) + drawn, return_index=True)
        first.sort()
        kept = _turn(np.bincount(row[first], minlength=len(index))) < wanted[row[first]]
        first = first[kept]
        return drawn[first], np.searchsorted(row[first], np.arange(len(index) + 1))

    def _text_log_odds(self, liking: Liking, readers: Ints, candidates: Ints) -> Floats:
        """Log odds from subjects and hot words alone; ``readers`` are rows of ``liking``."""
        news = self.news
        match = liking.of(readers, news.theme[candidates], news.subtopic[candidates])
        return MATCH_WEIGHT * match + HOT_WEIGHT * news.hot[candidates]

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
    """Concatenated ``arange(length)``."""
    return np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
