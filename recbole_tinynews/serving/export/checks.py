"""Compares an export with the recommender's own code."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from recbole_tinynews.files.columns import TITLE
from recbole_tinynews.serving.engine import Engine
from recbole_tinynews.serving.export.source import Source

TOLERANCE = 1e-4
SAMPLE = 256  # titles
USERS = 16
SOME_TITLES = (  # if there is no data set
    "Champions win the cup after penalty shoot-out",
    "Bank raises interest rates for the third time this year, and economists expect two more",
    "Ten quick recipes for dinner",
    "Striker signs for rivals after record transfer",
)


class Differences(NamedTuple):
    """Largest differences in vectors and in scores, divided by the largest value if above 1."""

    vectors: float
    scores: float


def sample_of(titles: list[str]) -> list[str]:
    """An empty text, a single word and evenly spaced titles."""
    chosen = titles or list(SOME_TITLES)
    places = np.linspace(0, len(chosen) - 1, min(SAMPLE, len(chosen))).astype(int)
    return ["", "News", *(chosen[place] for place in places)]


def differences(source: Source, exported: Engine, titles: list[str]) -> Differences:
    """Compare vectors of titles, and scores for users with empty to full histories."""
    texts = sample_of(titles)
    histories = _histories(source.settings["history_length"], len(texts))
    (ours, our_scores), (theirs, their_scores) = (
        _encoded_and_scored(engine, texts, histories) for engine in (source.engine, exported)
    )
    return Differences(_largest(ours, theirs), _largest(our_scores, their_scores))


def _largest(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / ours.abs().max().clamp(min=1))


def _encoded_and_scored(
    engine: Engine, texts: list[str], histories: Tensor
) -> tuple[Tensor, Tensor]:
    vectors = engine.encode({TITLE: texts})
    with_padding = torch.cat([torch.zeros_like(vectors[:1]), vectors])
    return vectors, engine.user_vectors(with_padding, histories) @ vectors.T


def _histories(width: int, texts: int) -> Tensor:
    """Histories of 0 to ``width`` clicks as row numbers of texts, from 1, newest last."""
    clicks = np.linspace(0, width, USERS).astype(int)
    rows = np.random.default_rng(0).integers(1, 1 + texts, size=(USERS, width))
    return torch.from_numpy(np.where(np.arange(width) >= width - clicks[:, None], rows, 0))


def refuse_difference(difference: float, allowed: float, what: str) -> None:
    """Raise ``ValueError`` if an export differs by more than allowed."""
    if not difference <= allowed:  # NaN too
        raise ValueError(
            f"{what} expects the recommender's own values up to {allowed:g}, and differs by "
            f"{difference:.1e}. Nothing was written. Choose another format, and report this with "
            "the recommender's settings.yaml."
        )
