"""What an evaluation knows of every article beside its id: its category and its training clicks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.data.impressions import Impressions


class ArticleFacts(NamedTuple):
    """Facts by news id; id 0 is padding.

    Shapes:
        category: ``[news]``, the index of the category, 0 where it is unknown.
        clicks: ``[news]``, clicks in the training impressions; their histories don't count.
    """

    category: NDArray[np.integer]
    clicks: NDArray[np.int64]

    @classmethod
    def of(cls, category: NDArray[np.integer], training: Impressions) -> ArticleFacts:
        """The facts of articles with these categories, ``[news]``."""
        clicked = training.candidates.values[training.labels == 1]
        return cls(category, np.bincount(clicked, minlength=len(category)))

    @property
    def articles(self) -> int:
        """Number of articles, without padding."""
        return len(self.category) - 1
