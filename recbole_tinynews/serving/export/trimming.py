"""Writes a finished recommender with a smaller vocabulary."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.data.atomic_files import TokenIndex, concatenate, read_impressions, read_news
from recbole_tinynews.data.news_text import with_abstract
from recbole_tinynews.encoder.plm_files import load_config, load_tokenizer
from recbole_tinynews.encoder.text_encoder import TextEncoder
from recbole_tinynews.encoder.trimming import (
    articles_using,
    losing_tokens,
    tokens_to_keep,
    trim_config,
    trim_embeddings,
    trim_tokenizer,
)
from recbole_tinynews.files.array_cache import checksums
from recbole_tinynews.files.tensors import save_weights
from recbole_tinynews.files.whole import check_new_or_empty, whole_folder
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.model.text_encoders import reads_words
from recbole_tinynews.pipeline.artifact import (
    CATEGORY_NAMES,
    COPIES,
    FILES,
    PLM,
    TEST,
    TEST_DATA,
    WEIGHTS,
    files_of,
    read_metrics,
    read_settings,
    write_metrics,
    write_settings,
)
from recbole_tinynews.serving.data_set_files import find_item_file
from recbole_tinynews.serving.export.comparison import find_data_set, metrics_of
from recbole_tinynews.serving.loading import load_trained


class Trimmed(NamedTuple):
    """A trimmed recommender."""

    folder: Path
    tokens: int
    tokens_before: int
    others: int  # articles outside the training impressions
    losing: int  # others that lose a token
    metrics: dict[str, dict[str, float]]  # on test impressions, ``before`` and ``after``


def trim(
    folder: str | Path,
    output: str | Path,
    min_articles: int = 1,
    data_path: str | Path | None = None,
    model: type[NewsRecommender] | None = None,
) -> Trimmed:
    """Write the finished recommender in ``folder`` with fewer tokens to ``output``, a new folder.

    A token stays if ``min_articles`` articles of the training impressions use it
    (``tokens_to_keep``); validation metrics stay those of the training. Arguments and errors are
    those of ``load``; an export, or a recommender without language model or data set, is an error
    too.
    """
    folder, output = Path(folder), Path(output)
    check_new_or_empty(output)
    engine, settings = load_trained(folder, "trim", model=model), read_settings(folder)
    if reads_words(settings):
        raise ValueError(
            f"trim expects a finished recommender with a language model, and {folder} reads by "
            "words. Use another folder."
        )
    trained, others = _articles(settings, data_path)
    tokenizer, prefix = load_tokenizer(str(folder / PLM)), settings.get("text_prefix") or ""
    used = articles_using(trained.T.tolist(), tokenizer, prefix)
    kept = tokens_to_keep(tokenizer, used, min_articles)
    losing = losing_tokens(others[:, 0].tolist(), tokenizer, kept, prefix)
    data, metrics = find_data_set(engine.settings, data_path), {}
    if data is not None and data.test is not None:
        metrics["before"] = metrics_of(engine, data, "before")
    # several views may share one
    plms = {part.plm for part in engine.model.modules() if isinstance(part, TextEncoder)}
    for plm in plms:
        trim_embeddings(plm, kept)
    with whole_folder(output) as unfinished:
        save_weights(engine.model.state_dict(), unfinished / WEIGHTS)
        _write(folder, unfinished, kept, {**settings, "vocabulary_min_articles": min_articles})
    if data is not None and metrics:
        metrics["after"] = metrics_of(load_trained(output, "trim", model=model), data, "after")
    return Trimmed(output, len(kept), len(tokenizer), len(losing), int(losing.sum()), metrics)


def _articles(settings: Mapping[str, Any], data_path: str | Path | None) -> tuple[NDArray, NDArray]:
    """Texts of the training articles and of the others, title first, ``[articles, texts]``."""
    name = settings["dataset"]
    item_file = find_item_file(name, data_path)
    if item_file is None:
        raise FileNotFoundError(
            f"trim expects data set '{name}', whose training articles use the tokens to keep, and "
            "did not find it. Pass the folder that contains its folder: --data_path."
        )
    news, index = read_news(item_file), TokenIndex()
    ids = index.ids(news.item_id)
    train_file = item_file.with_name(f"{name}.train.inter")
    shown = concatenate(read_impressions(train_file, index, TokenIndex()))
    joined = list(map(with_abstract, news.title, news.abstract))
    texts = np.array([news.title, news.abstract, joined, news.body], dtype=object).T
    is_trained = np.isin(ids, shown.news_ids())
    return texts[is_trained], texts[~is_trained]


def _write(folder: Path, output: Path, kept: NDArray[np.int64], settings: dict[str, Any]) -> None:
    (output / PLM).mkdir()
    config = load_config(str(folder / PLM))
    trim_config(config, kept)
    config.save_pretrained(output / PLM)
    trim_tokenizer(load_tokenizer(str(folder / PLM)), kept).save_pretrained(output / PLM)
    shutil.copy(folder / PLM / CATEGORY_NAMES, output / PLM)
    write_settings(output, settings)
    outdated = (FILES, TEST, TEST_DATA, COPIES)  # measured with all tokens, or not copied
    metrics = {name: value for name, value in read_metrics(folder).items() if name not in outdated}
    write_metrics(output, {**metrics, FILES: checksums(output, files_of(output))})
