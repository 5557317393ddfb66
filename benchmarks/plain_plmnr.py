"""PLM-NR in its simplest form, without any optimisation: the reference for the fast path.

Every title is padded to the limit, every slot of the history is encoded, empty or not, and every
layer is computed in every step. Frozen layers get no gradients, as in any implementation.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModel

from recbole_tinynews.encoder.generic_layers import find_layers
from recbole_tinynews.model.recommender import NewsRecommender


class PlainPLMNR(nn.Module):
    """A plain copy of a model with the same weights; ``loss`` takes the same batches."""

    real: Tensor
    token_ids: Tensor

    def __init__(self, model: NewsRecommender, max_length: int, dropout: float) -> None:
        super().__init__()
        encoder = model.news_encoder
        text_encoder: Any = encoder.text_encoder
        self.plm = AutoModel.from_pretrained(
            model.plm_source,
            num_hidden_layers=text_encoder.depth,
            attn_implementation="sdpa",
            dtype="float32",
        )
        for name, parameter in self.plm.named_parameters():
            trains = text_encoder.plm.get_parameter(name).requires_grad
            parameter.requires_grad_(trains)
        for number, layer in enumerate(find_layers(self.plm)[1]):
            rate = dropout if number >= text_encoder.first_trained else 0.0  # as in the fast path
            for module in layer.modules():
                if isinstance(module, nn.Dropout):
                    module.p = rate
                if hasattr(module, "dropout_prob"):  # transformers 4 keeps that of attention here
                    module.dropout_prob = rate  # type: ignore[assignment]
        self.plm.get_submodule("embeddings.dropout").p = 0.0
        self.pooling = copy.deepcopy(text_encoder.pooling)
        self.dense = copy.deepcopy(text_encoder.dense)
        self.user_encoder = copy.deepcopy(model.user_encoder)
        tokens, padding = encoder.tokens, text_encoder.pad_token_id
        padded = torch.full((tokens.rows, max_length), padding)
        for row in range(tokens.rows):
            padded[row, : len(tokens.row(row))] = torch.from_numpy(tokens.row(row).astype(int))
        padded[0, 0] = 1 if padding == 0 else 0  # a text without any token has no attention
        self.register_buffer("token_ids", padded, persistent=False)
        self.register_buffer("real", padded != padding, persistent=False)

    def encode(self, news_ids: Tensor) -> Tensor:
        """News vectors, ``[*news_ids.shape, news_dim]``."""
        flat = news_ids.flatten()
        real = self.real[flat]
        states = self.plm(input_ids=self.token_ids[flat], attention_mask=real.long())
        return self.dense(self.pooling(states.last_hidden_state, real)).view(*news_ids.shape, -1)

    def loss(self, history: Tensor, candidates: Tensor) -> Tensor:
        """Cross entropy of the first candidate."""
        user = self.user_encoder(self.encode(history), history != 0)
        scores = (self.encode(candidates) @ user.unsqueeze(-1)).squeeze(-1)
        return F.cross_entropy(scores, torch.zeros_like(history[:, 0]))
