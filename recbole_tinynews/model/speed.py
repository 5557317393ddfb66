"""News encoded per second, the paper's measure of speed."""

from __future__ import annotations

import statistics
import time

import numpy as np
import torch

from recbole_tinynews.model.news_encoder import NewsEncoder

NEWS, REPEATS = 1024, 3


@torch.no_grad()
def news_per_second(news_encoder: NewsEncoder) -> float:
    """Median of a few runs over the same news, every layer computed, no table read.

    The news are spread over the data set, so that their lengths are its own.
    """
    with_text = np.flatnonzero(news_encoder.tokens.lengths)
    ids = with_text[np.linspace(0, len(with_text) - 1, min(NEWS, len(with_text))).astype(int)]
    was_training = news_encoder.training
    news_encoder.eval()
    seconds = []
    with news_encoder.without_tables():
        news_encoder.encode_distinct(ids)  # warm-up
        for _ in range(REPEATS):
            started = time.perf_counter()
            news_encoder.encode_distinct(ids).sum().item()  # .item() waits for a GPU
            seconds.append(time.perf_counter() - started)
    news_encoder.train(was_training)
    return len(ids) / statistics.median(seconds)
