"""Opens a newsroom at startup: articles of its store, from a file or from saved vectors."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from recbole_tinynews.serving.news_index import OtherRecommenderError
from recbole_tinynews.serving.news_table import articles_of, published_in, read_news_file
from recbole_tinynews.serving.ranking import Ranker
from recbole_tinynews.serving.reading import FIELDS, title_of
from recbole_tinynews.serving.service.newsroom import Newsroom
from recbole_tinynews.serving.store import Article, Store


def open_newsroom(
    rankers: Mapping[str, Ranker], store: Store, news: Path | None, indexes: Sequence[Path]
) -> Newsroom:
    """A newsroom with the articles of its store, to which those of a file are added first.

    ``indexes`` (one per ranker, or none) cache vectors, and are brought up to date; without other
    articles, theirs are served. Raises ``ValueError`` if they differ, or a file is damaged.
    """
    if news is not None:
        read = {name for each in rankers.values() for name in each.reading.fields}
        _store_news(store, news, read if store.is_temporary else FIELDS)
    kept = {each.id for each in store.articles()[1] if each.fields is not None}
    files: Sequence[Path | None] = indexes or [None] * len(rankers)
    for ranker, index in zip(rankers.values(), files, strict=True):
        if index is not None and (not kept or index.exists()):
            _load_index(ranker, index, can_encode=bool(kept))
    titles = _common_titles(rankers, may_differ=bool(kept)) if news is None else {}
    before = []
    for ranker in rankers.values():
        before.append(ranker.shelf)
        ranker.forget([each for each in ranker.news_ids if each not in kept and each not in titles])
    room = Newsroom(rankers, titles, store)
    if kept:
        print(f"{len(kept):,} articles, encoding those without vectors", flush=True)
    room.follow_articles(show_progress=True)
    for (name, ranker), index, old in zip(rankers.items(), files, before, strict=True):
        print(f"{name}: {len(ranker.news_ids):,} articles", flush=True)
        if index is not None and ranker.shelf is not old:
            ranker.save_index(index)
    return room


def _store_news(store: Store, news: Path, fields: Collection[str]) -> None:
    table = read_news_file(news)
    known, published = {each.id: each for each in store.articles()[1]}, published_in(table)
    given = []
    for name, content in zip(*articles_of(table, fields), strict=True):
        old = known.get(name, Article(name, None))
        new = Article.of(name, content, published.get(name, old.published))
        given += [new] if new != old else []
    store.put(given)


def _load_index(ranker: Ranker, index: Path, can_encode: bool) -> None:
    try:
        ranker.load_index(index)
    except OtherRecommenderError:
        if not can_encode:
            raise
        print(f"{index} has the vectors of another recommender: it is rebuilt")


def _common_titles(rankers: Mapping[str, Ranker], may_differ: bool) -> dict[str, str]:
    """Titles of the articles that all rankers have; ``ValueError`` if some have others too."""
    first, *others = rankers.values()
    common = set(first.news_ids).intersection(*(other.news_ids for other in others))
    if not may_differ and any(len(each.news_ids) > len(common) for each in rankers.values()):
        raise ValueError(
            "The indexes of several recommenders expect the same articles, and have different "
            "ones. Pass the articles that all of them should know: --news=FILE."
        )
    ids = [each for each in first.news_ids if each in common]
    return dict(zip(ids, map(title_of, first.titles(ids)), strict=True))
