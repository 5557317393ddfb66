"""Articles that were current at a time, to draw candidates from."""

from __future__ import annotations

import random
from collections import Counter, deque

HOURS = 24  # an article is current for so long after a click on it


class CurrentArticles:
    """The distinct articles that anybody clicked in the last hours, as clicks arrive in time order.

    Nothing is known of the future: at the start of a log few articles are current.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._clicks: deque[tuple[int, int]] = deque()  # time and article
        self._counts: Counter[int] = Counter()
        self._articles: list[int] = []
        self._places: dict[int, int] = {}  # of an article in the list

    def click(self, time: int, article: int) -> None:
        """Remember a click; ``sample`` was asked for its time before."""
        self._clicks.append((time, article))
        self._counts[article] += 1
        if self._counts[article] == 1:
            self._places[article] = len(self._articles)
            self._articles.append(article)

    def sample(self, time: int, clicked: int, count: int) -> list[int]:
        """So many current articles but the clicked one, or as many as there are; uniformly."""
        while self._clicks and self._clicks[-1][0] > time:  # of a file read before, of later days
            self._forget(self._clicks.pop()[1])
        while self._clicks and self._clicks[0][0] < time - HOURS * 3600:
            self._forget(self._clicks.popleft()[1])
        size = len(self._articles)
        places = self._random.sample(range(size), min(size, count + 1))
        drawn = [self._articles[place] for place in places]
        return [article for article in drawn if article != clicked][:count]

    def shuffle(self, articles: list[int]) -> list[int]:
        """The articles in a random order: a click's place must not tell it."""
        self._random.shuffle(articles)
        return articles

    def _forget(self, article: int) -> None:
        self._counts[article] -= 1
        if self._counts[article]:
            return
        del self._counts[article]
        place, last = self._places.pop(article), self._articles.pop()
        if last != article:
            self._articles[place] = last
            self._places[last] = place
