"""Language models derived from another with the training articles of a data set."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from logging import getLogger
from pathlib import Path

import numpy as np

from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.data.news_text import TITLE_ABSTRACT
from recbole_tinynews.encoder import trimming
from recbole_tinynews.encoder.plm_files import load_tokenizer
from recbole_tinynews.encoder.static_vectors import write_static_plm
from recbole_tinynews.files.array_cache import content_key
from recbole_tinynews.files.columns import ABSTRACT, BODY, TITLE
from recbole_tinynews.files.whole import exclusive_lock, whole_folder

READ = (TITLE, ABSTRACT, TITLE_ABSTRACT, BODY)  # texts whose tokens count
ABOUT = "about.txt"  # in the folder: a line to log


def derived_plm(
    source: str, content: str, news: NewsDataset, prefix: str, at_least: int | None, static: bool
) -> str:
    """Folder of the language model derived from ``source``; ``source`` itself if nothing changes.

    Keeps the tokens of at least ``at_least`` articles (None: all), which are read after ``prefix``;
    ``static``: without layers. Cached by its inputs, with ``content`` the digest of ``source``.
    """
    if at_least is None and not static:
        return source
    ids = news.training_news()
    every = map(news.texts, READ)
    columns = [[texts[each] for each in ids] for texts in every if any(texts)]

    def trim(folder: Path) -> str:
        assert at_least is not None
        tokenizer = load_tokenizer(source)
        kept = trimming.tokens_to_keep(
            tokenizer, trimming.articles_using(columns, tokenizer, prefix), at_least
        )
        trimming.write_trimmed_plm(source, kept, folder)
        titles = filter(None, np.delete(np.array(news.texts(TITLE), dtype=object), ids))
        losing = trimming.losing_tokens(list(titles), tokenizer, kept, prefix)
        return (
            f"Vocabulary: {len(kept):,} of {len(tokenizer):,} tokens are kept, those of at least "
            f"{at_least} of {len(ids):,} training articles and single characters. "
            f"{losing.sum():,} of {len(losing):,} other titles lose a token."
        )

    def make_static(folder: Path) -> str:
        used = trimming.articles_using(columns, load_tokenizer(source), prefix)
        write_static_plm(source, used, folder)
        return f"No layers: {len(used):,} static token vectors start as outputs of all layers."

    read = [prefix, json.dumps(columns)]
    if at_least is not None:
        source = _cached(news, [content, *read, str(at_least)], trim)
        content = Path(source).name
    if static:
        source = _cached(news, [content, *read, "static 1"], make_static)
    return source


def _cached(news: NewsDataset, key: Iterable[str], write: Callable[[Path], str]) -> str:
    """A folder in the cache with this key, filled by ``write``, which returns a line to log."""
    assert news.cache_dir is not None
    folder = news.cache_dir / f"plm-{content_key(key)}"
    if not folder.is_dir():
        with exclusive_lock(folder, "computing it"):
            if not folder.is_dir():  # another process may have computed it
                with whole_folder(folder) as unfinished:
                    line = write(unfinished)
                    (unfinished / ABOUT).write_text(line, encoding="utf-8")
    getLogger().info((folder / ABOUT).read_text(encoding="utf-8"))
    return str(folder)
