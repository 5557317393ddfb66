"""The encoder of articles whose vectors a file gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recbole_tinynews.data.given_vectors import GivenVectors
from recbole_tinynews.encoder.hidden_states import StateRecorder
from recbole_tinynews.encoder.one_text import OneTextEncoder
from recbole_tinynews.encoder.packing import PackedTexts
from recbole_tinynews.encoder.plm_files import plm_content
from recbole_tinynews.encoder.pooling import UnitDense
from recbole_tinynews.encoder.text_encoder import EncodedTexts, TextVectors, weights_content


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
