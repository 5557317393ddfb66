"""Articles for stages without clicks: with title and body, or all of the data set."""

from __future__ import annotations

from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from recbole.data.interaction import Interaction

from recbole_tinynews.data.dataloader import (
    ImpressionDataLoader,
    TrainDataLoader,
    id_tensor,
)
from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.data.fields import CANDIDATES, HISTORY
from recbole_tinynews.files.array_cache import content_key
from recbole_tinynews.files.columns import ABSTRACT, BODY, TITLE
from recbole_tinynews.files.lines import read_lines
from recbole_tinynews.settings.protocol import Settings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


FEWEST_ARTICLES = 20  # one is held out and nine are negatives
HELD_OUT_SHARE, HELD_OUT_MOST = 0.05, 500


class Article(NamedTuple):
    """A nonempty title and body."""

    title: str
    body: str


def articles_for(config: Settings, news: NewsDataset) -> list[Article]:
    """Articles of ``post_train_corpus``, or by default of the data set."""
    corpus = config["post_train_corpus"]
    return read_corpus(Path(corpus)) if corpus else articles_of(news, news_to_read(config, news))


def news_to_read(config: Settings, news: NewsDataset) -> NDArray[np.int64]:
    """Ascending ids of articles for training without clicks, by ``post_train_news``."""
    every = np.arange(1, len(news.news_text[TITLE]))
    if config["post_train_news"] == "all":
        return every
    training = news.inter_feat.news_ids()
    if config["post_train_news"] == "archive":
        return np.union1d(training, np.setdiff1d(every, news.log.news_ids()))
    return training


def read_corpus(path: Path) -> list[Article]:
    """Articles of a tab-separated file without header: id, title, body; plain or gzip.

    Those without title or body are dropped; ``ValueError`` for fewer than ``FEWEST_ARTICLES``.
    """
    articles = []
    for number, line in enumerate(read_lines(path), start=1):
        columns = line.split("\t")
        if len(columns) != 3:
            raise ValueError(
                f"{path}, line {number}, expects 3 tab-separated columns (id, title, body), "
                f"got {len(columns)}."
            )
        articles.append(Article(columns[1].strip(), columns[2].strip()))
    return _complete(articles, str(path))


def articles_of(news: NewsDataset, ids: NDArray[np.int64]) -> list[Article]:
    """Articles with title and body (or abstract); ``ValueError`` below ``FEWEST_ARTICLES``."""
    text = news.news_text
    articles = [
        Article(
            text[TITLE][news_id].strip(),
            text[BODY][news_id].strip() or text[ABSTRACT][news_id].strip(),
        )
        for news_id in ids.tolist()
    ]
    return _complete(articles, f"{len(ids)} news of data set '{news.dataset_name}'")


def _complete(articles: list[Article], source: str) -> list[Article]:
    """Articles with title and body; ``ValueError`` for too few."""
    complete = [article for article in articles if article.title and article.body]
    if dropped := len(articles) - len(complete):
        getLogger().info(f"{source}: {dropped} articles without a title or a body are left out.")
    if len(complete) < FEWEST_ARTICLES:
        raise ValueError(
            f"Post-training expects at least {FEWEST_ARTICLES} articles with title and body, "
            f"got {len(complete)} from {source}. Name a corpus with --post_train_corpus=FILE, or "
            "read the news of all splits with --post_train_news=all."
        )
    return complete


def hold_out(texts: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of training texts, ascending, and of at least one random validation text.

    >>> [len(part) for part in hold_out(40, seed=0)]
    [38, 2]
    """
    held_out = max(1, min(HELD_OUT_MOST, int(texts * HELD_OUT_SHARE)))
    order = np.random.default_rng(seed).permutation(texts)
    return np.sort(order[held_out:]), order[:held_out]


class TrainingNews:
    """Every article of ``post_train_news`` once per epoch; other attributes are the data set's."""

    settings: ClassVar[tuple[str, ...]] = ("post_train_news",)
    content: str
    cache_dir: Path | None

    def __init__(self, news: NewsDataset, articles: NDArray[np.int64], content: str) -> None:
        self.news, self.articles, self.content = news, articles, content

    @classmethod
    def read(
        cls, config: Settings, news: NewsDataset, tokenizer: PreTrainedTokenizerBase
    ) -> TrainingNews:
        """News for a stage with these settings."""
        articles, content = news_to_read(config, news), news.content
        if config["post_train_news"] != "train":
            content = content_key([content, articles.tobytes()])
        return cls(news, articles, content)

    def loaders(
        self, config: Settings, valid: Any
    ) -> tuple[TrainingNewsLoader, ImpressionDataLoader | None]:
        """Training articles, and validation impressions."""
        return (
            TrainingNewsLoader(config, self),
            ImpressionDataLoader(config, valid) if valid else None,
        )

    def __getattr__(self, name: str) -> Any:
        if name == "news":  # not set yet while being copied
            raise AttributeError(name)
        return getattr(self.news, name)


class TrainingNewsLoader(TrainDataLoader):
    """One sample is one article, as the only click and the only candidate (``[batch, 1]``)."""

    def __init__(self, config: Settings, dataset: TrainingNews) -> None:
        self.articles = dataset.articles
        super().__init__(config, dataset, len(self.articles))

    def news_ids(self) -> NDArray[np.int64]:
        """Ids of all articles."""
        return self.articles

    def collate_samples(self, samples: NDArray[np.int64]) -> Interaction:
        """The batch of these articles."""
        ids = id_tensor(self.articles[samples][:, None])
        label = torch.zeros(len(samples), dtype=torch.long)
        return Interaction({HISTORY: ids, CANDIDATES: ids, self.config["LABEL_FIELD"]: label})
