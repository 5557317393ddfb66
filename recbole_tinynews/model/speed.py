"""News encoded and impressions ranked per second: how fast a recommender serves."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from recbole_tinynews.data.dataloader import CANDIDATES, HISTORY, ImpressionDataLoader
from recbole_tinynews.model.news_encoder import NewsEncoder

NEWS, REPEATS = 1024, 3
NEWS_ALONE = 64  # are enough where each is encoded by itself
IMPRESSIONS = 256


class RankingSpeed(NamedTuple):
    """Impressions ranked per second.

    ``encoded``: from the text of all their news, each encoded once; ``cached``: from news vectors
    that are there already.
    """

    encoded: float
    cached: float


def news_per_second(*news_encoders: NewsEncoder, batch: int | None = None) -> float:
    """Median of a few runs over the same news, every layer computed, no table read.

    The news are spread over the data set, so that their lengths are its own.

    Args:
        news_encoders: a system of several encodes each news with all of them.
        batch: news that come at once; None: all, in packs as large as the encoder makes them.
    """
    count = NEWS_ALONE if batch == 1 else NEWS
    ids = _spread(np.flatnonzero(news_encoders[0].tokens.lengths), count)
    parts = [
        ids[start : start + (batch or len(ids))] for start in range(0, len(ids), batch or NEWS)
    ]

    def encode() -> None:
        for news_encoder in news_encoders:
            for part in parts:
                news_encoder.encode_distinct(part).sum().item()  # .item() waits for a GPU

    with _serving(news_encoders):
        return len(ids) / _median_seconds(encode)


def impressions_per_second(
    model: Any, news_encoders: Sequence[NewsEncoder], loader: ImpressionDataLoader
) -> RankingSpeed:
    """Medians of a few runs over the same impressions, spread over their split.

    Users are encoded and candidates scored in both cases; batches are collated before.
    """
    rows = _spread(np.arange(loader.impressions.rows), IMPRESSIONS)
    parts = [rows[start : start + loader.step] for start in range(0, len(rows), loader.step)]
    batches = [loader.collate_fn(part.tolist())[0].to(model.device) for part in parts]
    shown = [batch[field].flatten() for batch in batches for field in (HISTORY, CANDIDATES)]
    news = torch.cat(shown).unique().cpu().numpy()
    news = news[news != 0]  # empty slots

    def rank() -> None:
        for batch in batches:
            model.predict(batch).sum().item()

    def encode_and_rank() -> None:
        for news_encoder in news_encoders:
            news_encoder.train()  # which drops its vectors
            news_encoder.eval()
            news_encoder.encode_ahead(news)
        rank()

    with _serving(news_encoders, model):
        encoded = _median_seconds(encode_and_rank)
        return RankingSpeed(len(rows) / encoded, len(rows) / _median_seconds(rank))


@contextmanager
def _serving(news_encoders: Sequence[NewsEncoder], *models: torch.nn.Module) -> Iterator[None]:
    """In evaluation mode, without gradients and tables; afterwards all is as it was."""
    modules = [*news_encoders, *models]
    was_training = [module.training for module in modules]
    with torch.no_grad(), ExitStack() as stack:
        for news_encoder in news_encoders:
            stack.enter_context(news_encoder.without_tables())
        for module in modules:
            module.eval()
        yield
    for module, mode in zip(modules, was_training, strict=True):
        module.train(mode)


def _spread(choices: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """So many of them, from the first to the last in equal steps."""
    return choices[np.linspace(0, len(choices) - 1, min(count, len(choices))).astype(int)]


def _median_seconds(work: Callable[[], None]) -> float:
    seconds = []
    work()  # warm-up
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)
