"""Engine of exports in torch: transformers' language model, and the heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from recbole_tinynews.encoder.language_model import load_plm
from recbole_tinynews.encoder.plm_files import load_tokenizer
from recbole_tinynews.files.columns import TITLE
from recbole_tinynews.serving.engine import Engine
from recbole_tinynews.serving.export.description import Description
from recbole_tinynews.serving.export.heads import read_heads
from recbole_tinynews.serving.export.padded import PaddedNewsEncoder, PaddedTexts


class TorchEngine(Engine):
    """Ranks with a language model (default: the folder's, in fp32) and heads, on the CPU."""

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

    def encode(self, columns: Mapping[str, Sequence[str]]) -> Tensor:
        """Vectors of articles, ``[articles, dim]``, float32."""
        return torch.from_numpy(self._padded(columns[TITLE]))

    @torch.no_grad()
    def user_vectors(self, vectors: Tensor, histories: Tensor) -> Tensor:
        """User vectors, ``[users, dim]``."""
        return self._user_encoder(vectors[histories], histories != 0)

    @torch.no_grad()
    def click_weights(self, vectors: Tensor, histories: Tensor) -> Tensor:
        """Attention weights of the clicks, ``[users, history_length]``."""
        return self._user_encoder.click_weights(vectors[histories], histories != 0)

    @torch.no_grad()
    def _encode_batch(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        ids, mask = torch.from_numpy(input_ids), torch.from_numpy(attention_mask)
        return self._news_encoder(ids, mask).numpy()
