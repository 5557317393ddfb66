"""Articles that a news encoder encodes per second."""

from __future__ import annotations

import statistics
import time

import numpy as np
import torch

from recbole_tinynews.encoder.news_encoder import NewsEncoder

NEWS, REPEATS = 512, 3


def news_per_second(news_encoder: NewsEncoder) -> float:
    """Articles encoded per second without caches, the median of a few runs over typical articles.

    They are encoded in packs of the encoder's own size.
    """
    ids = np.flatnonzero(news_encoder.tokens.lengths)
    ids = ids[np.linspace(0, len(ids) - 1, min(NEWS, len(ids))).astype(int)]
    was_training = news_encoder.training
    news_encoder.eval()
    seconds = []
    try:
        with torch.no_grad(), news_encoder.without_tables():
            for _ in range(1 + REPEATS):  # the first is for warm-up
                started = time.perf_counter()
                news_encoder.encode_distinct(ids).sum().item()  # item() waits for a GPU
                seconds.append(time.perf_counter() - started)
    finally:
        news_encoder.train(was_training)
    return len(ids) / statistics.median(seconds[1:])
