"""Articles whose vectors a file gives, and their encoder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from logging import getLogger
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.encoder.hidden_states import StateRecorder
from recbole_tinynews.encoder.one_text import OneTextEncoder
from recbole_tinynews.encoder.packing import PackedTexts
from recbole_tinynews.encoder.plm_files import plm_content
from recbole_tinynews.encoder.pooling import UnitDense
from recbole_tinynews.encoder.text_encoder import EncodedTexts, TextVectors, weights_content
from recbole_tinynews.files.array_cache import Arrays, GrowingArray, cached_arrays, content_key
from recbole_tinynews.files.columns import TITLE
from recbole_tinynews.files.vector_files import maker_of, vector_chunks, vector_size


class GivenVectors(NamedTuple):
    """The vectors, and where each article's is.

    ``table`` is ``[vectors, dim]``, memory-mapped and of the file's precision; ``places`` has by
    news id one number, from 1, of a row of the table, or none; ``content`` is the file's digest,
    ``maker`` that of the language model that it names, if any.
    """

    table: NDArray[Any]
    places: Ragged
    content: str
    maker: str

    @classmethod
    def none(cls, size: int) -> GivenVectors:
        """Of no article, before a data set is read."""
        return cls(np.zeros((0, size), np.float32), Ragged.from_rows([[]], np.int32), "", "")

    @classmethod
    def read(cls, path: Path, dataset: Any) -> GivenVectors:
        """Those of a data set's articles, named by id or by title; ``ValueError`` if none."""
        names = dataset.field2id_token[dataset.iid_field].tolist()
        titles, content = dataset.news_text[TITLE], content_key([path])
        key = content_key([content, *names, *titles])

        def make() -> Arrays:
            return _matched(path, dataset.cache_dir, names, titles)

        made = cached_arrays(dataset.cache_dir, "given-vectors", key, make)
        places = np.asarray(made["places"])
        table = made["table"].reshape(-1, vector_size(path))
        if not len(table):
            raise ValueError(
                f"{path} must have vectors of this data set's {len(names) - 1:,} articles, by id "
                f"or title, got none. Its first ids: {', '.join(next(vector_chunks(path))[0][:3])}."
            )
        getLogger().info(
            f"{path}: vectors of {table.shape[1]} numbers for {len(table):,} of "
            f"{len(names) - 1:,} articles; {int(made['superfluous']):,} of its names are of none."
        )
        where = Ragged.from_lengths(places[places > 0], places > 0)
        return cls(table, where, content, maker_of(path))


def _matched(path: Path, folder: Path | None, names: list[str], titles: list[str]) -> Arrays:
    """Rows of the file that some article has, and which one; an id is meant before a title."""
    by_id = {name: news_id for news_id, name in enumerate(names) if news_id}
    by_title = defaultdict(list)
    for news_id, title in enumerate(titles):
        if title.strip():
            by_title[title].append(news_id)
    places, table = np.zeros(len(names), np.int32), None
    kept = superfluous = 0
    for some, vectors in vector_chunks(path):
        rows = []
        for row, name in enumerate(some):
            untaken = [news_id for news_id in by_title.get(name, ()) if not places[news_id]]
            articles = [by_id[name]] if name in by_id else untaken
            if articles:
                rows.append(row)
                places[articles] = kept + len(rows)
        kept, superfluous = kept + len(rows), superfluous + len(some) - len(rows)
        block = vectors[rows]
        if block.dtype != np.float16:
            block = block.astype(np.float32)
        table = GrowingArray(folder, block[:0, 0]) if table is None else table
        table.append(block.ravel())
    assert table is not None, "a file has a vector"
    return {"table": table.array(), "places": places, "superfluous": np.array(superfluous)}


class TableOfVectors(TextVectors):
    """A text is one token, its vector's number from 1 in a table; a dense layer follows.

    A vector stands where a language model's pooled states would, so the layer starts as over those:
    the mean subtracted and of unit length if ``pretrained_heads``.
    """

    def __init__(self, size: int, news_dim: int, pretrained_heads: bool) -> None:
        super().__init__()
        self.given = GivenVectors.none(size)
        self.dense: nn.Linear = (UnitDense if pretrained_heads else nn.Linear)(size, news_dim)

    def encode(
        self,
        texts: PackedTexts,
        frozen: Tensor | None = None,
        recorder: StateRecorder | None = None,
    ) -> EncodedTexts:
        """Vectors of the table, and what the dense layer makes of them."""
        rows = texts.token_ids.cpu().numpy() - 1
        vectors = torch.from_numpy(self.given.table[rows].astype(np.float32)).to(self.device)
        # in full precision, as the tables of language models that teachers are read from
        with torch.autocast(self.device.type, enabled=False):
            return EncodedTexts(vectors, self.dense(vectors))

    def zeros(self, texts: int) -> Tensor:
        """Vectors of articles that the file has none of, ``[texts, news_dim]``."""
        return self.dense.weight.new_zeros(texts, self.dense.out_features)

    def width(self) -> int:
        """Size of a vector of the table."""
        return self.dense.in_features

    def identity_heads(self) -> Iterator[UnitDense]:
        """The dense layer."""
        if isinstance(self.dense, UnitDense):
            yield self.dense

    def content(self) -> Iterator[str | bytes]:
        """Digests of the file and of the dense layer."""
        yield self.given.content
        yield from weights_content(self)


class VectorsOfFile(OneTextEncoder):
    """Articles by the vectors of a file, which are read when needed and never kept."""

    text_encoder: TableOfVectors
    of_plm = False  # whether the file says that its vectors are states of the language model

    def put_vectors(self, given: GivenVectors, plm: str) -> None:
        """Take the vectors of a data set's articles, where ``plm`` is the run's language model."""
        self.text_encoder.given, self.tokens = given, given.places
        self.of_plm = bool(given.maker) and given.maker == plm_content(plm)

    def encode_ahead(
        self, ids: NDArray[np.int64], show_progress: bool = False, folder: Path | None = None
    ) -> None:
        """Nothing: they may take more memory than there is."""

    def _look_up(self, news_ids: Tensor) -> Tensor | None:
        return None
