"""Parameters of bert-base shaped models, counted from tensors without values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModel, BertConfig

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.encoder.one_text import OneTextEncoder
from recbole_tinynews.encoder.text_encoder import TextEncoder
from recbole_tinynews.encoder.users import UserEncoder

NOTHING = Ragged.from_rows([[]], np.int32)


def encoders(layers: int) -> tuple[OneTextEncoder, UserEncoder]:
    with torch.device("meta"):
        plm = AutoModel.from_config(
            BertConfig(num_hidden_layers=layers), attn_implementation="sdpa"
        )
        text_encoder = TextEncoder(plm, news_dim=256, query_dim=200, finetune_layers=2)
        news_encoder = OneTextEncoder(text_encoder, NOTHING)
        user_encoder = UserEncoder(256, 200)
    return news_encoder, user_encoder


def parameters(layers: int) -> list[torch.nn.Parameter]:
    return [parameter for module in encoders(layers) for parameter in module.parameters()]


@pytest.mark.parametrize(
    ("layers", "expected"),
    [(12, 109_884_962), (4, 53_181_986), (2, 39_006_242), (1, 31_918_370)],
)
def test_a_model_is_as_large_as_the_paper_says(layers: int, expected: int) -> None:
    """No metric of a unit test shows a missing pooler or a second dense layer."""
    assert sum(p.numel() for p in parameters(layers)) == expected


@pytest.mark.parametrize(
    ("layers", "expected"), [(12, 14_578_466), (2, 14_578_466), (1, 7_490_594)]
)
def test_as_much_trains_as_the_paper_says(layers: int, expected: int) -> None:
    """Training the embeddings or freezing the pooling would be another method."""
    assert sum(p.numel() for p in parameters(layers) if p.requires_grad) == expected
