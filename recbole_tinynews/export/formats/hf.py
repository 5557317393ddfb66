"""``--to=hf``: the language model for ``AutoModel``, and the heads as safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_tinynews.export.finished import FinishedRecommender
from recbole_tinynews.export.formats import Format
from recbole_tinynews.export.usage import POOL, ranking_by_torch, tokens_of, with_prefix
from recbole_tinynews.files.tensors import save_weights
from recbole_tinynews.serving.exported import NEWS_HEADS, TORCH, USER_ENCODER, news_heads

EXAMPLE = f"""import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

tokenizer, plm = AutoTokenizer.from_pretrained(FOLDER), AutoModel.from_pretrained(FOLDER)
news, user = (load_file(f"{{FOLDER}}/{{name}}_encoder.safetensors") for name in ("news", "user"))
{POOL}
@torch.no_grad()
def encode(text):
    states = plm(**TOKENS).last_hidden_state[0]
    return VECTOR

vectors = torch.stack([encode(text) for text in CLICKS + CANDIDATES])
"""
POOLED = {"attention": "pool(states, news)", "mean": "states.mean(0)", "cls": "states[0]"}


def write_heads(recommender: FinishedRecommender, folder: Path) -> None:
    """Write the weights of the modules after the language model."""
    save_weights(news_heads(recommender.heads).state_dict(), folder / NEWS_HEADS)
    save_weights(recommender.heads.user_encoder.state_dict(), folder / USER_ENCODER)


def _write(recommender: FinishedRecommender, folder: Path) -> None:
    recommender.write_auto_model(folder, "hf")
    write_heads(recommender, folder)


def _example(settings: Mapping[str, Any]) -> str:
    pretrained, pooled = settings["head_init"] == "pretrained", POOLED[settings["news_pooling"]]
    centred = f'{pooled} - news["dense.centre"]' if pretrained else pooled
    vector = f'torch.nn.functional.linear({centred}, news["dense.weight"], news["dense.bias"])'
    if pretrained:
        vector = f"torch.nn.functional.normalize({vector}, dim=0)"
    tokens = tokens_of(with_prefix("text", settings), settings, return_tensors='"pt"')
    code = EXAMPLE.replace("VECTOR", vector).replace("TOKENS", tokens)
    return code + ranking_by_torch(settings)


FORMAT = Format(_write, TORCH, "transformers", _example)
