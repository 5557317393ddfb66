"""Fastformer (Wu et al., 2021): attention among clicks in linear time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from recbole_tinynews.encoder.pooling import HEAD_DIM, AttentionPooling, masked_softmax
from recbole_tinynews.encoder.users import NoClicks
from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.settings.protocol import Settings


class Fastformer(PLMNR):
    """NRMS with additive attention among the clicks (``FastformerUser``); titles as in NRMS."""

    least: ClassVar[Mapping[str, float]] = {"user_layers": 1}

    def make_user_encoder(self, config: Settings) -> nn.Module:
        """Additive attention among the clicks, then attention pooling."""
        sizes = self.news_dim(config), config["query_dim"]
        own = FastformerUser(*sizes, layers=config["user_layers"])
        return self.started(config, own)


class FastformerAttention(nn.Module):
    """Multi-head additive self-attention.

    Section 3.1, for each head of size d::

        alpha_i = softmax_i(w_q . q_i / sqrt(d))    q = sum_i alpha_i q_i    p_i = q * k_i
        beta_i  = softmax_i(w_k . p_i / sqrt(d))    k = sum_i beta_i p_i     u_i = k * v_i
        output_i = W_o u_i + b_o + q_i              over the concatenated heads

    Values and queries share their transformation. Raises ``ValueError`` if ``size``, that of a
    head, does not divide ``dim``.
    """

    def __init__(self, dim: int, size: int = HEAD_DIM) -> None:
        super().__init__()
        if dim % size:
            raise ValueError(
                f"FastformerAttention expects a size divisible by {size}, the head size, got "
                f"{dim}. Set news_dim to a multiple of {size}."
            )
        heads = dim // size
        self.query, self.key = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.query_weight = nn.Parameter(torch.randn(heads, size) * size**-0.5)
        self.key_weight = nn.Parameter(torch.randn(heads, size) * size**-0.5)
        self.output = nn.Linear(dim, dim)

    def forward(self, inputs: Tensor, mask: Tensor) -> Tensor:
        """Outputs ``[batch, length, dim]``, as inputs; ``mask`` is ``[batch, length]``."""
        heads = self.query_weight.shape
        queries = self.query(inputs)
        values = queries.unflatten(-1, heads)  # [batch, length, heads, size]
        keys = self.key(inputs).unflatten(-1, heads)
        products = _summary(values, self.query_weight, mask) * keys
        mixed = _summary(products, self.key_weight, mask) * values
        return self.output(mixed.flatten(-2)) + queries


def _summary(inputs: Tensor, weight: Tensor, mask: Tensor) -> Tensor:
    """The global vector of each head, ``[batch, 1, heads, size]``."""
    energy = (inputs * weight).sum(-1) * weight.shape[-1] ** -0.5  # [batch, length, heads]
    shares = masked_softmax(energy.transpose(1, 2), mask.unsqueeze(1))
    return torch.einsum("bhl,blhs->bhs", shares, inputs).unsqueeze(1)


class FastformerUser(nn.Module):
    """Fastformer over the clicks, then attention pooling (section 4.1); ``layers`` share weights.

    As in the paper, layer norm, positions and feed-forward layers are omitted.
    """

    def __init__(self, news_dim: int, query_dim: int, layers: int = 1) -> None:
        super().__init__()
        self.layers = layers
        self.attention = FastformerAttention(news_dim)
        self.pooling = AttentionPooling(news_dim, query_dim)
        self.no_clicks = NoClicks(news_dim)

    def forward(self, history: Tensor, clicked: Tensor) -> Tensor:
        """User vectors ``[batch, dim]`` from clicks ``[batch, history, dim]``."""
        attended = history
        for _ in range(self.layers):
            attended = self.attention(attended, clicked)
        return self.no_clicks(self.pooling(attended, clicked), clicked)
