"""What ranking needs of an export, and what it is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class ExportEngine(Protocol):
    """What ranking needs of an export.

    Attributes:
        settings: those of the recommender that decide vectors and scores.
    """

    settings: dict[str, Any]

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of texts, ``[texts, dim]``."""

    def user_vectors(
        self, clicked: NDArray[np.float32], mask: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """User vectors, ``[users, dim]``; their dot product with a news vector is its score.

        Shapes:
            clicked: ``[users, history_length, dim]``, vectors of the clicked articles.
            mask: ``[users, history_length]``, True where the slot holds a click.
        """
