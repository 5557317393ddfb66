"""Writes a finished recommender with a smaller vocabulary."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recbole_tinynews.data.atomic_files import TokenIndex, read_impressions, read_news
from recbole_tinynews.data.news_text import with_abstract
from recbole_tinynews.encoder.plm_files import bare_plm, load_config, load_tokenizer
from recbole_tinynews.encoder.trimming import (
    articles_using,
    losing_tokens,
    tokens_to_keep,
    trim_config,
    trim_tokenizer,
)
from recbole_tinynews.files.checksums import checksums
from recbole_tinynews.files.tensors import load_weights, save_weights
from recbole_tinynews.files.whole import whole_folder
from recbole_tinynews.model.recommender import NewsRecommender
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
from recbole_tinynews.serving.data_set_texts import find_item_file
from recbole_tinynews.serving.export.data_set import find_data_set, metrics_of
from recbole_tinynews.serving.loading import load_reader


class Trimmed(NamedTuple):
    """A trimmed recommender."""

    folder: Path
    tokens: int
    tokens_before: int
    others: int  # articles outside the training impressions
    losing: int  # those of them that lose a token
    metrics: dict[str, dict[str, float]]  # on test impressions, ``before`` and ``after``


def trim(
    folder: str | Path,
    output: str | Path,
    min_articles: int = 1,
    data_path: str | Path | None = None,
    model: type[NewsRecommender] | None = None,
) -> Trimmed:
    """Write the finished recommender in ``folder`` with fewer tokens to ``output``.

    It is read by ``load`` and exported like any other. Vectors of texts whose tokens are all kept
    are equal to the last bit. Its validation metrics stay those of the training.

    Args:
        folder: of a finished stage that ranks news with a language model.
        output: a new or empty folder.
        min_articles: number of articles of the training impressions that must use a token.
        data_path: as for ``load``; its texts are read.
        model: the recommender's class, if it is your own.

    Raises:
        FileNotFoundError: no such folder, or no such data set.
        ValueError: an export, or word vectors instead of a language model, or as for ``load``.
        FileExistsError: ``output`` is not empty.
    """
    folder, output = Path(folder), Path(output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise FileExistsError(f"--output={output} expects a folder that is new or empty.")
    before, settings = load_reader(folder, model=model), read_settings(folder)
    if not (folder / PLM / "config.json").is_file():
        raise ValueError(
            f"trim expects a finished recommender with a language model in {PLM}/, and {folder} "
            "has none. Name the folder of a finished stage; exports of a trimmed one stay trimmed."
        )
    place = None if data_path is None else Path(data_path)
    trained, others = _articles(settings, place)
    tokenizer, prefix = load_tokenizer(str(folder / PLM)), settings.get("text_prefix") or ""
    used = articles_using(trained.T.tolist(), tokenizer, prefix)
    kept = tokens_to_keep(tokenizer, used, min_articles)
    losing = losing_tokens(others[:, 0].tolist(), tokenizer, kept, prefix)
    with whole_folder(output) as unfinished:
        _write(folder, unfinished, kept, {**settings, "vocabulary_min_articles": min_articles})
    engines = {"before": before.engine, "after": load_reader(output, model=model).engine}
    data = find_data_set(before.engine.settings, place)
    metrics = {}
    if data is not None and data.test is not None:
        metrics = {name: metrics_of(engine, data, name) for name, engine in engines.items()}
    return Trimmed(output, len(kept), len(tokenizer), len(losing), int(losing.sum()), metrics)


def _articles(settings: Mapping[str, Any], data_path: Path | None) -> tuple[NDArray, NDArray]:
    """Texts of the training articles and of the others, title first, ``[articles, texts]``."""
    name = settings["dataset"]
    item_file = find_item_file(name, data_path)
    if item_file is None:
        raise FileNotFoundError(
            f"trim expects data set '{name}', whose training articles use the tokens to keep, and "
            "did not find it. Name the folder that holds its folder with --data_path."
        )
    news, index = read_news(item_file), TokenIndex()
    ids = index.ids(news.item_id)
    shown = read_impressions(item_file.with_name(f"{name}.train.inter"), index, TokenIndex())
    joined = list(map(with_abstract, news.title, news.abstract))
    texts = np.array([news.title, news.abstract, joined, news.body], dtype=object).T
    is_trained = np.isin(ids, shown.news_ids())
    return texts[is_trained], texts[~is_trained]


def _write(folder: Path, output: Path, kept: NDArray[np.int64], settings: dict[str, Any]) -> None:
    """Write the recommender with these tokens."""
    (output / PLM).mkdir()
    config = load_config(str(folder / PLM))
    trim_config(config, kept)
    config.save_pretrained(output / PLM)
    trim_tokenizer(load_tokenizer(str(folder / PLM)), kept).save_pretrained(output / PLM)
    if (folder / PLM / CATEGORY_NAMES).is_file():
        shutil.copy(folder / PLM / CATEGORY_NAMES, output / PLM)
    save_weights(_trimmed_weights(folder, kept), output / WEIGHTS)
    write_settings(output, settings)
    outdated = (FILES, TEST, TEST_DATA, COPIES)  # measured with all tokens, or not copied
    metrics = {name: value for name, value in read_metrics(folder).items() if name not in outdated}
    write_metrics(output, {**metrics, FILES: checksums(output, files_of(output))})


def _trimmed_weights(folder: Path, kept: NDArray[np.int64]) -> dict[str, Tensor]:
    """The weights, with the chosen rows of the word embeddings."""
    with torch.device("meta"):
        plm = bare_plm(str(folder / PLM))
    words = plm.get_input_embeddings().get_parameter("weight")
    named = plm.named_parameters(remove_duplicate=False)
    names = {name for name, parameter in named if parameter is words}
    weights, chosen = load_weights(folder / WEIGHTS), torch.from_numpy(kept)
    made = {  # several views may share them
        id(value): value[chosen]
        for name, value in weights.items()
        if name.rpartition(".plm.")[2] in names
    }
    return {name: made.get(id(value), value) for name, value in weights.items()}
