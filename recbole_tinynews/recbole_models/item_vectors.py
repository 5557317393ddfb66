"""Vectors of a data set's articles: of a language model, a finished recommender or a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recbole_tinynews.data.news_text import tokenise
from recbole_tinynews.encoder.embedding_model import embedding_model
from recbole_tinynews.encoder.one_text import OneTextEncoder
from recbole_tinynews.encoder.plm_files import load_plm, load_tokenizer, locate_plm, vector_size
from recbole_tinynews.encoder.text_encoder import TextEncoder
from recbole_tinynews.files.columns import TITLE
from recbole_tinynews.files.vector_files import SUFFIXES, read_vectors

MOST_TOKENS = 128  # of a text
RECOMMENDER_FILES = ("settings.yaml", "recommender.json")  # of a finished stage, and of an export


def locate_vectors(source: str, folders: Sequence[Path] = ()) -> str:
    """The file, the folder or the hub's name that ``item_text`` means."""
    return source if Path(source).suffix in SUFFIXES else locate_plm(source, folders)


def item_vectors(
    source: str,
    ids: Sequence[str],
    columns: Mapping[str, Sequence[str]],
    prefix: str = "",
    cache_dir: Path | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Vectors by item, ``[items, dim]``, centred and of unit variance; zeros in row 0.

    ``columns`` are texts by item, of which a language model reads ``title``, after ``prefix``. An
    item without text, or without a vector in the file, has the mean of all others: zeros.
    """
    has_text = np.array([bool(text.strip()) for text in columns[TITLE]])
    if Path(source).suffix in SUFFIXES:
        vectors, known = _of_file(Path(source), ids)
    elif any((Path(source) / name).is_file() for name in RECOMMENDER_FILES):
        vectors, known = _of_recommender(source, columns, has_text), has_text
    else:
        vectors = _of_language_model(source, columns[TITLE], prefix, cache_dir, device)
        known = has_text
    known[0] = False  # padding
    if known.sum() < 2:
        raise ValueError(
            f"item_text={source} must have vectors for the {len(ids) - 1:,} items, got "
            f"{known.sum()}. Name a column with texts, or a file with the ids of this data set."
        )
    getLogger().info(
        f"Item text: {vectors.shape[1]} numbers of {source} for {known.sum():,} of "
        f"{len(ids) - 1:,} items; the others have the mean vector."
    )
    return torch.from_numpy(standardised(vectors, known))


def standardised(vectors: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Vectors minus their mean, over the standard deviation of all numbers; unknown ones zero.

    One scale for all dimensions, so that angles stay as the encoder means them.
    """
    centred = np.where(known[:, None], vectors - vectors[known].mean(axis=0), 0)
    scale = centred[known].std()
    return (centred / (scale if scale > 0 else 1)).astype(np.float32)


def _of_file(path: Path, ids: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    given = read_vectors(path)
    row_of = {name: row for row, name in enumerate(given.ids)}
    rows = np.array([row_of.get(name, -1) for name in ids])
    getLogger().info(
        f"{path}: {(rows[1:] < 0).sum():,} of {len(ids) - 1:,} items are missing, and "
        f"{len(row_of.keys() - set(ids)):,} of its {len(row_of):,} ids are no items."
    )
    return given.vectors[rows], rows >= 0


def _of_recommender(
    folder: str, columns: Mapping[str, Sequence[str]], has_text: NDArray[np.bool_]
) -> NDArray[np.float32]:
    from recbole_tinynews import load  # the public one: serving is above this room

    ranker = load(folder)
    if not hasattr(ranker, "encode"):
        raise ValueError(
            f"item_text={folder} must read text, got one of RecBole's own models. Name another."
        )
    names, rows = ranker.engine.fields.names, np.flatnonzero(has_text).tolist()
    given = [{name: columns[name][row] for name in names if name in columns} for row in rows]
    encoded = ranker.encode(given)
    vectors = np.zeros((len(has_text), encoded.shape[1]), np.float32)
    vectors[rows] = encoded
    return vectors


@torch.no_grad()
def _of_language_model(
    source: str,
    texts: Sequence[str],
    prefix: str,
    cache_dir: Path | None,
    device: torch.device | str,
) -> NDArray[np.float32]:
    """Vectors of unit length: by the pooling and prompt that the folder says, or plain means."""
    try:
        plm, meant = load_plm(source), embedding_model(source)
    except ValueError as problem:
        raise ValueError(f"item_text: {problem}") from problem
    pooling: Any = meant.pooling if meant else "mean"
    prefix = prefix or (meant.prompt if meant else "")
    text_encoder = TextEncoder(
        plm,
        vector_size(source),
        query_dim=1,
        pooling=pooling,
        finetune_layers=0,
        pretrained_heads=True,
    )
    for dense in text_encoder.identity_heads():
        dense.start((), centred=False)
    tokens = tokenise([*texts], load_tokenizer(source), MOST_TOKENS, cache_dir, prefix)
    encoder = OneTextEncoder(text_encoder, tokens).to(device).eval()
    ids = np.arange(1, tokens.rows)
    encoder.encode_ahead(ids, show_progress=True, folder=cache_dir)
    return encoder(torch.arange(tokens.rows, device=device)).cpu().numpy()
