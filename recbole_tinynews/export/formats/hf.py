"""``--to=hf``: the language model for ``AutoModel``, and the heads as safetensors.

Also the parts of the code on model cards that rank without this package, for all formats.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import indent
from typing import Any

from recbole_tinynews.encoder.padded import NEWS_DIM
from recbole_tinynews.encoder.pooling import HEAD_DIM
from recbole_tinynews.export.finished import FinishedRecommender
from recbole_tinynews.export.formats import Format
from recbole_tinynews.files.tensors import save_weights
from recbole_tinynews.serving.exported import (
    NEWS_HEADS,
    NEWS_TOKENS,
    TORCH,
    USER_ENCODER,
)

POOL = """
def pool(inputs, weights):  # additive attention
    inner = inputs @ weights["pooling.projection.weight"].T + weights["pooling.projection.bias"]
    return torch.softmax(torch.tanh(inner) @ weights["pooling.query.weight"][0], 0) @ inputs
"""
SELF_ATTENTION = """attention = torch.nn.MultiheadAttention({dim}, {heads}, batch_first=True).eval()
of_attention = [name for name in user if name.startswith("self_attention.")]
attention.load_state_dict({{name[15:]: user[name] for name in of_attention}})
clicks = {residual}attention(clicks, clicks, clicks)[0]"""
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
POOLED = {
    "attention": "pool(states, news)",
    "mean": "states.mean(0)",
    "cls": "states[0]",
    "last": "states[-1]",
    "weighted_mean": "torch.arange(1, len(states) + 1.0) @ states / sum(range(len(states) + 1))",
}


def write_heads(recommender: FinishedRecommender, folder: Path) -> None:
    """Write the weights of the modules after the language model."""
    save_weights(recommender.news_heads.state_dict(), folder / NEWS_HEADS)
    save_weights(recommender.user_encoder.state_dict(), folder / USER_ENCODER)


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


def tokens_of(texts: str, settings: Mapping[str, Any], **options: str) -> str:
    """The call of the tokenizer for these texts."""
    padding = "True" if settings["mask_padding_in_news_pooling"] else '"max_length"'
    shown = {"padding": padding, "truncation": "True", "max_length": settings[NEWS_TOKENS]}
    given = ", ".join(f"{name}={value}" for name, value in {**shown, **options}.items())
    return f"tokenizer({texts}, {given})"


def with_prefix(text: str, settings: Mapping[str, Any]) -> str:
    """The text with ``text_prefix``, as code."""
    return f"{settings['text_prefix']!r} + {text}" if settings["text_prefix"] else text


def ranking_by_torch(settings: Mapping[str, Any]) -> str:
    """From ``vectors`` of clicks and candidates, ``user``, its weights, and ``pool`` to scores."""
    length, scaled = settings["history_length"], settings["head_init"] == "pretrained"
    learned = settings["history_padding"] == "learned"
    lines = [
        "clicks, candidates = vectors[: len(CLICKS)], vectors[len(CLICKS) :]",
        f"clicks = clicks[-{length}:]",
    ]
    if learned:
        lines += [
            f'empty = user["pad_doc"].expand({length} - len(clicks), -1)',
            "clicks = torch.cat([empty, clicks])",
        ]
    else:
        lines.append('clicks = clicks if CLICKS else user["pad_doc"][None]')
    if settings["user_encoder"] == "self_attention":
        dim, residual = settings[NEWS_DIM], "clicks + " if scaled else ""
        attend = SELF_ATTENTION.format(dim=dim, heads=dim // HEAD_DIM, residual=residual)
        lines.append(attend if learned else f"if CLICKS:\n{indent(attend, '    ')}")
    lines += [
        "reader = pool(clicks, user)" + (' * user["scale"]' if scaled else ""),
        "scores = dict(zip(CANDIDATES, (candidates @ reader).tolist()))",
    ]
    return "\n".join(lines)


FORMAT = Format(_write, TORCH, "transformers", _example)
