"""Ranks from an export in torch: the language model by transformers' own code, and the heads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from recbole_tinynews.encoder.bare_language_model import bare_plm
from recbole_tinynews.encoder.language_model import load_plm, load_tokenizer
from recbole_tinynews.files.tensors import load_into, load_weights
from recbole_tinynews.serving.export.description import Description
from recbole_tinynews.serving.export.heads import read_heads
from recbole_tinynews.serving.export.int8_linear import Int8Linear, exchange_linears
from recbole_tinynews.serving.export.padded import PaddedNewsEncoder
from recbole_tinynews.serving.export.texts import PaddedTexts

INT8_WEIGHTS = "model_int8.safetensors"


class TorchEngine:
    """A language model and the heads beside it; threads may share it. It computes on the CPU.

    Args:
        folder: of the export.
        description: what ``recommender.json`` says.
        plm: the language model, where it is not the one that the folder holds in fp32.
    """

    def __init__(
        self, folder: Path, description: Description, plm: PreTrainedModel | None = None
    ) -> None:
        self.settings = description.settings
        plm = load_plm(str(folder)) if plm is None else plm
        heads = read_heads(folder, self.settings, plm.config.hidden_size)
        self._news_encoder = PaddedNewsEncoder(plm, heads, self.settings).eval()
        self._user_encoder = heads.user_encoder.eval()
        self._padded = PaddedTexts(
            load_tokenizer(str(folder)),
            self.settings,
            plm.config.pad_token_id or 0,
            self._encode_batch,
        )

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of texts, ``[texts, dim]``."""
        return self._padded(texts)

    @torch.no_grad()
    def user_vectors(
        self, clicked: NDArray[np.float32], mask: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """User vectors, ``[users, dim]``; their dot product with a news vector is its score.

        Shapes:
            clicked: ``[users, history_length, dim]``, vectors of the clicked articles.
            mask: ``[users, history_length]``, True where the slot holds a click.
        """
        return self._user_encoder(torch.from_numpy(clicked), torch.from_numpy(mask)).numpy()

    @torch.no_grad()
    def _encode_batch(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        ids, mask = torch.from_numpy(input_ids), torch.from_numpy(attention_mask)
        return self._news_encoder(ids, mask).numpy()


def int8_engine(folder: Path, description: Description) -> TorchEngine:
    """What ranks from an export to ``torch-int8``."""
    plm = bare_plm(str(folder))
    exchange_linears(plm, Int8Linear.of)
    load_into(plm, load_weights(folder / INT8_WEIGHTS), folder / INT8_WEIGHTS)
    return TorchEngine(folder, description, plm)
