"""Articles of a service at startup, from a file or from saved vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_tinynews.serving.news_index import OtherRecommenderError
from recbole_tinynews.serving.news_table import articles_of, published_in, read_news_file
from recbole_tinynews.serving.ranking import Ranker
from recbole_tinynews.serving.reading import title_of

if TYPE_CHECKING:
    import pandas as pd


def add_articles(
    rankers: Mapping[str, Ranker], news: Path | None, indexes: Sequence[Path]
) -> dict[str, str]:
    """Add the same articles to all rankers, and return their titles by id.

    They come from the file ``news`` or, if it is ``None``, from ``indexes`` (a file for each
    ranker), with texts as titles. If both are given, the indexes are brought up to date.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file cannot be read, or the indexes have different articles.
    """
    table = None if news is None else read_news_file(news)
    files: Sequence[Path | None] = indexes or [None] * len(rankers)
    for (name, ranker), index in zip(rankers.items(), files, strict=True):
        if table is not None:
            add_table(ranker, table, index)
            print(f"{name}: {len(ranker.news_ids):,} articles", flush=True)
        elif index is not None:
            ranker.load_index(index)
    if table is not None:
        for ranker in rankers.values():
            if ranker.counters is not None:
                ranker.counters.publish(published_in(table))
        ids, contents = articles_of(table, fields=())
        return dict(zip(ids, map(title_of, contents), strict=True))
    return _titles_of_indexes(rankers)


def add_table(ranker: Ranker, table: pd.DataFrame, index: Path | None) -> None:
    """Make the articles of a table a ranker's only ones, reusing an index where texts are equal.

    The index of another recommender is replaced; a file that is not an index is an error.
    """
    if index is not None and index.exists():
        try:
            ranker.load_index(index)
        except OtherRecommenderError:
            print(f"{index} has the vectors of another recommender: it is made anew")
    known, reading = ranker.news_ids, ranker.reading
    before = {n: reading.read(c) for n, c in zip(known, ranker.titles(known), strict=True)}
    ids, contents = articles_of(table, reading.fields)
    wanted = dict(zip(ids, contents, strict=True))
    gone = [each for each in known if each not in wanted]
    new = {n: content for n, content in wanted.items() if before.get(n) != reading.read(content)}
    ranker.forget(gone)
    if new:
        print(f"encoding {len(new):,} articles", flush=True)
    ranker.add_articles([*new], new.values(), show_progress=True)
    if index is not None and (new or gone):
        ranker.save_index(index)


def _titles_of_indexes(rankers: Mapping[str, Ranker]) -> dict[str, str]:
    first, *others = rankers.values()
    if any(set(other.news_ids) != set(first.news_ids) for other in others):
        raise ValueError(
            "The indexes of several recommenders expect the same articles, and have different "
            "ones. Name the articles that all shall know: --news=FILE."
        )
    titles = map(title_of, first.titles(first.news_ids))
    return dict(zip(first.news_ids, titles, strict=True))
