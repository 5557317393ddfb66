from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytest


class Ragged(NamedTuple):
    scores: np.ndarray
    labels: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, *impressions: tuple[Sequence[float], Sequence[int]]) -> Ragged:
        """Build the arrays from (scores, labels) of each impression."""
        sizes = [len(scores) for scores, _ in impressions]
        scores = [score for scores, _ in impressions for score in scores]
        labels = [label for _, labels in impressions for label in labels]
        return cls(np.array(scores, float), np.array(labels, int), np.append(0, np.cumsum(sizes)))

    def __iter__(self):  # the three arrays, as rank_impressions takes them
        return iter((self.scores, self.labels, self.offsets))

    def split(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return (scores, labels) of each impression."""
        inner = self.offsets[1:-1]
        return list(zip(np.split(self.scores, inner), np.split(self.labels, inner), strict=True))


@pytest.fixture(scope="session")
def ragged() -> type[Ragged]:
    return Ragged


@pytest.fixture(scope="session")
def many_impressions() -> Ragged:
    """4,000 impressions: ties, negative scores, one class, 1 to 300 candidates, many clicks."""
    rng = np.random.default_rng(11)
    sizes = rng.choice(
        [1, 2, 3, 5, 24, 37, 120, 300], 4000, p=[0.1, 0.1, 0.1, 0.2, 0.2, 0.2, 0.05, 0.05]
    )
    impressions = []
    for number, size in enumerate(sizes):
        scores = rng.normal(size=size).astype(np.float32)
        if number % 3 == 1:
            scores = scores.round(rng.integers(0, 2))  # many ties, -0.0 beside 0.0
        labels = rng.random(size) < rng.choice([0.03, 0.3, 0.9])
        impressions.append((scores.astype(float), labels.astype(int)))
    return Ragged.of(*impressions)
