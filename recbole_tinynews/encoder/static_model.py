"""BERT without layers: what static students are, without the imports of transformers' models."""

from __future__ import annotations

from typing import TypeAlias

import torch
import transformers
from torch import Tensor, nn
from transformers import PretrainedConfig

# or a StaticModel, which has what is used of one
LanguageModel: TypeAlias = "transformers.PreTrainedModel"


class StaticModel(nn.Module):
    """Equal to transformers' ``BertModel`` of no layers, weights by name, vectors bit for bit.

    Importing that one takes longer than all else in ranking. Its pooler is not used.
    """

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = StaticEmbeddings(config)
        self.encoder, self.pooler = nn.Module(), nn.Module()
        self.encoder.layer = nn.ModuleList()
        self.pooler.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def get_input_embeddings(self) -> nn.Embedding:
        """The vectors of tokens, as transformers' models name them."""
        return self.embeddings.word_embeddings


class StaticEmbeddings(nn.Module):
    """The normalised sum of a token's vector, that of its position and that of its type."""

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.word_embeddings = _zeros(config.vocab_size, size, config.pad_token_id)
        self.position_embeddings = _zeros(config.max_position_embeddings, size)
        self.token_type_embeddings = _zeros(config.type_vocab_size, size)
        self.LayerNorm = nn.LayerNorm(size, eps=config.layer_norm_eps)

    def forward(self, input_ids: Tensor, position_ids: Tensor, token_type_ids: Tensor) -> Tensor:
        """``[..., tokens]`` each to ``[..., tokens, hidden]``."""
        tokens = self.word_embeddings(input_ids) + self.token_type_embeddings(token_type_ids)
        return self.LayerNorm(tokens + self.position_embeddings(position_ids))


def _zeros(count: int, size: int, padding: int | None = None) -> nn.Embedding:
    """A table whose weights are loaded: torch's random ones of no device import its compiler."""
    return nn.Embedding.from_pretrained(torch.zeros(count, size), False, padding)
