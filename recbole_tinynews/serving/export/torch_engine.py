"""Ranks from an export in torch: the language model by transformers' own code, and the heads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from recbole_tinynews.encoder.language_model import load_plm
from recbole_tinynews.encoder.plm_files import bare_plm, load_tokenizer
from recbole_tinynews.files.tensors import load_into, load_weights
from recbole_tinynews.serving.engine import Engine
from recbole_tinynews.serving.export.description import Description
from recbole_tinynews.serving.export.heads import read_heads
from recbole_tinynews.serving.export.int8_linear import Int8Linear, exchange_linears
from recbole_tinynews.serving.export.padded import PaddedNewsEncoder
from recbole_tinynews.serving.export.texts import PaddedTexts

INT8_WEIGHTS = "model_int8.safetensors"


class TorchEngine(Engine):
    """A language model and the heads beside it; threads may share it. It computes on the CPU.

    Args:
        folder: of the export.
        description: what ``recommender.json`` says.
        plm: the language model, where it is not the one that the folder holds in fp32.
    """

    def __init__(
        self, folder: Path, description: Description, plm: PreTrainedModel | None = None
    ) -> None:
        super().__init__(description.settings, description.identity)
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

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Vectors of texts, ``[texts, dim]``, float32."""
        return torch.from_numpy(self._padded(texts))

    @torch.no_grad()
    def user_vectors(self, vectors: Tensor, histories: Tensor) -> Tensor:
        """Vectors of users from those of their clicks, ``[users, dim]``."""
        return self._user_encoder(vectors[histories], histories != 0)

    @torch.no_grad()
    def click_weights(self, vectors: Tensor, histories: Tensor) -> Tensor:
        """The weights of the attention that pools the clicks."""
        return self._user_encoder.click_weights(vectors[histories], histories != 0)

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
