"""Text in RecBole's own models: their item embeddings as a projection of text vectors.

The vectors are of a language model, a finished recommender or a file.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from logging import getLogger
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from recbole.model.layers import FLEmbedding, FMEmbedding
from torch import Tensor, nn
from torch.nn import functional as F

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
    names, rows = ranker.engine.reads, np.flatnonzero(has_text).tolist()
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


NONE, ADDED = "none", "added"  # of item_text_ids
VECTORS = "vectors"  # frozen, in the weights of every TextItemEmbedding
POSITION = "position"  # in names of tables that may happen to have as many rows
_SHARED = (FMEmbedding, FLEmbedding)


def with_item_text(
    model: Any,
    dataset: Any,
    item_text: str,
    column: str = TITLE,
    item_text_ids: str = NONE,
    text_prefix: str = "",
) -> Any:
    """Replace the item embeddings of one of RecBole's models by a projection of text vectors.

    Call it before RecBole's trainer is made, and again before saved weights are loaded.

    Args:
        model: a model of RecBole, changed in place.
        dataset: RecBole's data set, of which the model was made.
        item_text: a language model (folder, hub name or ``package:NAME``), the folder of a finished
            recommender or export, or a file of ids and vectors (``files/vector_files.py``).
        column: text column of the data set's ``.item`` file, whether RecBole loads it or not.
        item_text_ids: ``none``, or ``added``: a trained vector by id is added to the text's.
        text_prefix: put before each text.

    Returns:
        The model.

    Raises:
        ValueError: the model has item parameters that text cannot replace; no such column or value.
    """
    if item_text_ids not in (NONE, ADDED):
        raise ValueError(f"item_text_ids must be {NONE} or {ADDED}, got {item_text_ids!r}.")
    tables = item_tables(model, dataset)
    ids = dataset.field2id_token[dataset.iid_field]
    texts = _texts(dataset, column)
    columns = {TITLE: [texts.get(name, "") for name in ids]}
    source = locate_vectors(item_text, [Path(dataset.dataset_path)])
    put_item_text(tables, item_vectors(source, ids, columns, text_prefix), item_text_ids)
    return model


class TextItemEmbedding(nn.Module):
    """In the place of an ``nn.Embedding``: rows of items are a projection of their text vectors.

    ``ids`` adds a trained row to an item's; row 0 of the items is padding and stays zero. Rows of
    other fields, in tables that RecBole shares among fields, are trained as before. Looks up as the
    embedding does, and ``weight`` are all rows.
    """

    vectors: Tensor
    num_embeddings: int
    embedding_dim: int

    def __init__(self, table: nn.Embedding, first: int, vectors: Tensor, ids: bool) -> None:
        super().__init__()
        weight, self.first, self.last = table.weight.detach(), first, first + len(vectors)
        # sizes, and what a model has set on its table
        self.__dict__.update({k: v for k, v in vars(table).items() if k not in vars(self)})
        of_items = weight[first : self.last].clone()
        others = torch.cat([weight[:first], weight[self.last :]])
        self.register_buffer(VECTORS, vectors.to(weight.device))
        self.projection = nn.Linear(vectors.shape[1], self.embedding_dim, bias=False)
        self.projection.to(weight.device)
        # vectors have unit variance, so that rows come out at the scale of the model's own
        nn.init.normal_(self.projection.weight, std=float(of_items.std()) / vectors.shape[1] ** 0.5)
        of_items[0] = 0
        self.ids = nn.Parameter(of_items) if ids else None
        self.others = nn.Parameter(others) if len(others) else None

    @property
    def weight(self) -> Tensor:
        """All rows, ``[num_embeddings, embedding_dim]``."""
        items: Tensor = self.projection(self.vectors)
        if self.ids is not None:
            items = items + F.pad(self.ids[1:], (0, 0, 1, 0))
        if self.others is None:
            return items
        return torch.cat([self.others[: self.first], items, self.others[self.first :]])

    def forward(self, rows: Tensor) -> Tensor:
        """``[*rows.shape, embedding_dim]``; each distinct row is projected once."""
        distinct, places = torch.unique(rows, return_inverse=True)
        return F.embedding(places, self._looked_up(distinct))

    def _looked_up(self, rows: Tensor) -> Tensor:
        """Rows without repeats, ``[rows, embedding_dim]``."""
        is_item = (rows >= self.first) & (rows < self.last)
        item = torch.where(is_item, rows - self.first, 0)
        items: Tensor = self.projection(self.vectors[item])
        if self.ids is not None:
            items = items + F.embedding(item, self.ids, padding_idx=0)
        if self.others is None:
            return items
        other = torch.where(rows < self.first, rows, rows - len(self.vectors))
        others = F.embedding(torch.where(is_item, 0, other), self.others)
        return torch.where(is_item.unsqueeze(-1), items, others)


class ItemTable(NamedTuple):
    """An embedding, the module and name that hold it, and the first of its rows of items."""

    parent: nn.Module
    name: str
    table: nn.Embedding
    first: int = 0


def item_tables(model: nn.Module, dataset: Any) -> list[ItemTable]:
    """All tables of a model with rows of items; ``ValueError`` if text cannot replace them all."""
    who, items = f"item_text expects of {type(model).__name__}", dataset.item_num
    tables = [*_shared_tables(model, dataset.iid_field)]
    own = [*_own_tables(model, items)]
    if own and dataset.user_num == items:
        raise ValueError(
            f"{who} a data set with fewer or more users than items, got {items - 1:,} of both, "
            "whose embeddings cannot be told apart. Leave a user out."
        )
    tables += own
    sizes = {items, *(each.table.num_embeddings for each in tables)}
    replaced = {id(each.table.weight) for each in tables}
    kept = [
        f"{name} {[*value.shape]}"
        for name, value in model.named_parameters()
        if id(value) not in replaced and POSITION not in name and sizes.intersection(value.shape)
    ]
    if kept or not tables:
        raise ValueError(
            f"{who} that embeddings, with a row for each of {items:,} items, are all that it "
            f"learns about items, got {', '.join(kept) or 'no embeddings of items'}. Choose "
            "another model, such as SASRec, GRU4Rec, BPR, LightGCN, DIN or FM."
        )
    return tables


def _shared_tables(model: nn.Module, item_field: str) -> Iterator[ItemTable]:
    """Those of several fields, one after the other, as context-aware models have them."""
    for module in model.modules():
        tables: Any = getattr(module, "token_embedding_table", None)
        names: Any = getattr(module, "token_field_names", None)
        if isinstance(tables, FMEmbedding):
            tables, names = {"": tables}, {"": names}
        for kind, table in tables.items() if tables else ():
            if item_field in names[kind]:
                first = int(table.offsets[names[kind].index(item_field)])
                yield ItemTable(table, "embedding", table.embedding, first)


def _own_tables(model: nn.Module, items: int) -> Iterator[ItemTable]:
    """Those of items alone, by every name that they have."""
    for parent in (each for each in model.modules() if not isinstance(each, _SHARED)):
        for name, child in parent._modules.items():
            if POSITION in name or not isinstance(child, nn.Embedding):
                continue
            if child.num_embeddings == items:
                yield ItemTable(parent, name, child)


def put_item_text(tables: Iterable[ItemTable], vectors: Tensor, item_text_ids: str) -> None:
    """Replace tables in place; one that has several names stays one."""
    made: dict[nn.Embedding, TextItemEmbedding] = {}
    for parent, name, table, first in tables:
        if table not in made:
            made[table] = TextItemEmbedding(table, first, vectors, item_text_ids == ADDED)
        setattr(parent, name, made[table])


def saved_vectors(weights: Mapping[str, Tensor], items: int) -> Tensor:
    """The frozen vectors among a model's weights; ``ValueError`` if it has none for the items."""
    for name, value in weights.items():
        if name.endswith(f".{VECTORS}") and value.ndim == 2 and len(value) == items:
            return value
    raise ValueError(f"its weights must have vectors of {items:,} items.")


def _texts(dataset: Any, column: str) -> dict[str, str]:
    """Texts by item in the ``.item`` file, which RecBole may not load, or would split and cut."""
    file = Path(dataset.dataset_path) / f"{dataset.dataset_name}.item"
    if not file.is_file():
        raise ValueError(f"item_text expects texts of items in {file}, which does not exist.")
    table = pd.read_csv(
        file,
        sep=dataset.config["field_separator"],
        dtype=str,
        quoting=csv.QUOTE_NONE,
        keep_default_na=False,
    )
    table.columns = table.columns.str.partition(":").get_level_values(0)
    if column not in table:
        raise ValueError(
            f"item_text expects a column of {file}, one of {', '.join(table.columns)}, got "
            f"column={column!r}. Name the one with texts."
        )
    return dict(zip(table[dataset.iid_field], table[column], strict=True))
