"""Serving speed of a recommender: articles encoded and impressions ranked per second."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from recbole_tinynews.data.dataloader import ImpressionDataLoader
from recbole_tinynews.data.fields import CANDIDATES, HISTORY
from recbole_tinynews.encoder.news_encoder import NewsEncoder
from recbole_tinynews.model.recommender import NewsRecommender

NEWS, REPEATS = 512, 3
NEWS_ALONE = 64  # articles, when encoded one by one
IMPRESSIONS = 64


def news_per_second(news_encoder: NewsEncoder, batch: int | None = None) -> float:
    """Articles encoded per second without caches, the median of a few runs over typical articles.

    ``batch`` articles per call; None: all, in packs of the encoder's own size.
    """
    count = NEWS_ALONE if batch == 1 else NEWS
    ids = _spread(np.flatnonzero(news_encoder.tokens.lengths), count)
    size = batch or NEWS  # the latter is one pack with all
    parts = [ids[start : start + size] for start in range(0, len(ids), size)]

    def encode() -> None:
        for part in parts:
            news_encoder.encode_distinct(part).sum().item()  # item() waits for a GPU

    with _serving(news_encoder):
        return len(ids) / _median_seconds(encode)


def impressions_per_second(
    model: NewsRecommender, loader: ImpressionDataLoader
) -> tuple[float, float]:
    """Impressions ranked per second, from text and from cached vectors; medians of a few runs."""
    rows = _spread(np.arange(loader.impressions.rows), IMPRESSIONS)
    parts = [rows[start : start + loader.step] for start in range(0, len(rows), loader.step)]
    batches = [loader.collate_impressions(part).to(model.device) for part in parts]
    shown = [batch[field].flatten() for batch in batches for field in (HISTORY, CANDIDATES)]
    news = torch.cat(shown).unique().cpu().numpy()
    news = news[news != 0]  # empty slots

    def rank() -> None:
        for batch in batches:
            model.predict(batch).sum().item()

    def encode_and_rank() -> None:
        model.news_encoder.train()  # drops its vectors
        model.news_encoder.eval()
        model.news_encoder.encode_ahead(news)
        rank()

    with _serving(model.news_encoder, model):
        encoded = _median_seconds(encode_and_rank)
        return len(rows) / encoded, len(rows) / _median_seconds(rank)


@contextmanager
def _serving(news_encoder: NewsEncoder, model: nn.Module | None = None) -> Iterator[None]:
    """Evaluation mode without gradients and caches, restored afterwards."""
    served = news_encoder if model is None else model
    was_training = served.training
    served.eval()
    try:
        with torch.no_grad(), news_encoder.without_tables():
            yield
    finally:
        served.train(was_training)


def _spread(choices: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    return choices[np.linspace(0, len(choices) - 1, min(count, len(choices))).astype(int)]


def _median_seconds(work: Callable[[], None]) -> float:
    seconds = []
    work()  # warm-up
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)
