"""Articles with title and body, from a corpus file or from the data set itself."""

from __future__ import annotations

from logging import getLogger
from pathlib import Path
from typing import NamedTuple

import numpy as np

from recbole_tinynews.data.other_titles import NO_CATEGORY
from recbole_tinynews.data.task_news import TaskNews
from recbole_tinynews.files.columns import ABSTRACT, BODY, CATEGORY, TITLE
from recbole_tinynews.files.lines import read_lines
from recbole_tinynews.settings.protocol import Settings

FEWEST_ARTICLES = 20  # of which one is held out, and nine of the others are negatives


class Article(NamedTuple):
    """A title and the body that belongs to it, neither of them empty."""

    title: str
    body: str
    category: str = NO_CATEGORY


def articles_for(config: Settings, news: TaskNews) -> list[Article]:
    """The articles of ``post_train_corpus``, or else of the data set itself."""
    corpus = config["post_train_corpus"]
    return read_corpus(Path(corpus)) if corpus else articles_of(news)


def read_corpus(path: Path) -> list[Article]:
    """Articles of a tab-separated file without header: id, title, body; plain or gzip.

    Articles without a title or a body are left out and counted in the log.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line has another number of columns or is not UTF-8, or the file holds fewer
            than ``FEWEST_ARTICLES`` articles.
    """
    articles: list[Article] = []
    dropped = 0
    for number, line in enumerate(read_lines(path), start=1):
        columns = line.split("\t")
        if len(columns) != 3:
            raise ValueError(
                f"{path}, line {number}, expects 3 tab-separated columns (id, title, body), "
                f"got {len(columns)}."
            )
        title, body = columns[1].strip(), columns[2].strip()
        if title and body:
            articles.append(Article(title, body))
        else:
            dropped += 1
    return _enough(articles, dropped, str(path))


def articles_of(news: TaskNews) -> list[Article]:
    """Articles of the data set: title and body, or the abstract where there is no body."""
    text = news.news_text
    _, *names = news.field2id_token[CATEGORY].tolist()
    categories = np.array([NO_CATEGORY, *names])[news.item_feat[CATEGORY].numpy()].tolist()
    pairs = [
        Article(title.strip(), body.strip() or abstract.strip(), category)
        for title, abstract, body, category in zip(
            text[TITLE][1:], text[ABSTRACT][1:], text[BODY][1:], categories[1:], strict=True
        )
    ]
    articles = [pair for pair in pairs if pair.title and pair.body]
    return _enough(articles, len(pairs) - len(articles), f"data set '{news.dataset_name}'")


def _enough(articles: list[Article], dropped: int, source: str) -> list[Article]:
    if dropped:
        getLogger().info(f"{source}: {dropped} articles without a title or a body are left out.")
    if len(articles) < FEWEST_ARTICLES:
        raise ValueError(
            f"Post-training expects at least {FEWEST_ARTICLES} articles with title and body, "
            f"got {len(articles)} from {source}. Name a corpus with --post_train_corpus=FILE."
        )
    return articles
