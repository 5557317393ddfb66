"""The modules after the language model (pooling, dense layer, user encoder) as safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from recbole_tinynews.encoder.pooling import AttentionPooling
from recbole_tinynews.encoder.pretrained_heads import UnitDense
from recbole_tinynews.encoder.users.attentive import UserEncoder
from recbole_tinynews.files.tensors import load_into, load_weights, save_weights

NEWS_HEADS, USER_ENCODER = "news_encoder.safetensors", "user_encoder.safetensors"


class Heads(NamedTuple):
    """The modules after the language model."""

    pooling: AttentionPooling | None  # over the tokens of a text; None: mean or first token
    dense: nn.Linear
    user_encoder: UserEncoder


def write_heads(heads: Heads, folder: Path) -> None:
    """Write the weights to the folder."""
    save_weights(_news_heads(heads).state_dict(), folder / NEWS_HEADS)
    save_weights(heads.user_encoder.state_dict(), folder / USER_ENCODER)


def read_heads(folder: Path, settings: Mapping[str, Any], hidden_size: int) -> Heads:
    """Read the heads of an export; ``hidden_size`` is the language model's."""
    pretrained = settings["head_init"] == "pretrained"
    news_dim, query_dim = settings["news_dim"], settings["query_dim"]
    dense = UnitDense if pretrained else nn.Linear
    attends = settings["news_pooling"] == "attention"
    heads = Heads(
        AttentionPooling(hidden_size, query_dim) if attends else None,
        dense(hidden_size, news_dim),
        UserEncoder(
            news_dim,
            query_dim,
            settings["user_encoder"],
            settings["history_padding"],
            starts_as_mean=pretrained,
        ),
    )
    for module, name in ((_news_heads(heads), NEWS_HEADS), (heads.user_encoder, USER_ENCODER)):
        load_into(module, load_weights(folder / name), folder / name)
    return heads


def _news_heads(heads: Heads) -> nn.ModuleDict:
    parts = {"pooling": heads.pooling, "dense": heads.dense}
    return nn.ModuleDict({name: part for name, part in parts.items() if part is not None})
