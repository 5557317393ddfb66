"""An export against the recommender's own code, on texts of all lengths and users of all kinds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.serving.export.engine import ExportEngine
from recbole_tinynews.serving.export.source import Source

TOLERANCE = 1e-4
SAMPLE = 256  # titles that are compared
USERS = 16
SOME_TITLES = (  # where the data set is not found
    "Champions win the cup after penalty shoot-out",
    "Bank raises interest rates for the third time this year, and economists expect two more",
    "Ten quick recipes for dinner",
    "Striker signs for rivals after record transfer",
)


class Differences(NamedTuple):
    """Largest absolute differences from the recommender's own vectors and scores."""

    vectors: float
    scores: float


def sample_of(titles: list[str]) -> list[str]:
    """Some of the titles, evenly spread, behind an empty one and one of a single word."""
    chosen = titles or list(SOME_TITLES)
    places = np.linspace(0, len(chosen) - 1, min(SAMPLE, len(chosen))).astype(int)
    return ["", "News", *(chosen[place] for place in places)]


def differences(source: Source, exported: ExportEngine, titles: list[str]) -> Differences:
    """Compare vectors of titles, and scores of all of them for users with 0, 1, ... clicks."""
    texts = sample_of(titles)
    ours, theirs = source.encode(texts), exported.encode(texts)
    mask = _histories(source.settings["history_length"])
    random = np.random.default_rng(0)
    rows = random.integers(len(texts), size=mask.shape)
    scores = [
        vectors @ engine.user_vectors(vectors[rows] * mask[:, :, None], mask).T
        for engine, vectors in ((source, ours), (exported, theirs))
    ]
    return Differences(
        float(np.abs(ours - theirs).max()), float(np.abs(scores[0] - scores[1]).max())
    )


def _histories(width: int) -> NDArray[np.bool_]:
    """Which slots hold a click, of users with none to all, ``[users, width]``, newest last."""
    clicks = np.linspace(0, width, USERS).astype(int)
    return np.arange(width) >= width - clicks[:, None]


def refuse_difference(difference: float, allowed: float, what: str) -> None:
    """Raise ValueError where an export would rank in another way than the recommender."""
    if not difference <= allowed:  # NaN too
        raise ValueError(
            f"{what} expects the recommender's own values up to {allowed:g}, and differs by "
            f"{difference:.1e}. Nothing was written. Choose another format, and report this with "
            "the recommender's settings.yaml."
        )
