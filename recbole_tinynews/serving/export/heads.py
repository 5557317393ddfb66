"""The heads of an export: pooling, dense layer and user encoder, as safetensors."""

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
    """The modules after the language model.

    Attributes:
        pooling: over the tokens of a text; ``None``: mean or the first token.
        dense: the layer after it.
        user_encoder: vectors of clicked articles -> user vector.
    """

    pooling: AttentionPooling | None
    dense: nn.Linear
    user_encoder: UserEncoder


def write_heads(heads: Heads, folder: Path) -> None:
    """Write the weights into the folder."""
    save_weights(_news_heads(heads).state_dict(), folder / NEWS_HEADS)
    save_weights(heads.user_encoder.state_dict(), folder / USER_ENCODER)


def read_heads(folder: Path, settings: Mapping[str, Any], hidden_size: int) -> Heads:
    """The heads in the folder of an export.

    Args:
        folder: of the export.
        settings: of the recommender.
        hidden_size: of the language model.
    """
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
