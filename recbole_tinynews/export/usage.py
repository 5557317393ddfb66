"""For model cards: parts of the code that ranks without this package."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import indent
from typing import Any

from recbole_tinynews.encoder.self_attention import HEAD_DIM
from recbole_tinynews.serving.exported import NEWS_DIM, NEWS_TOKENS

POOL = """
def pool(inputs, weights):  # additive attention
    inner = inputs @ weights["pooling.projection.weight"].T + weights["pooling.projection.bias"]
    return torch.softmax(torch.tanh(inner) @ weights["pooling.query.weight"][0], 0) @ inputs
"""
SELF_ATTENTION = """attention = torch.nn.MultiheadAttention({dim}, {heads}, batch_first=True).eval()
of_attention = [name for name in user if name.startswith("self_attention.")]
attention.load_state_dict({{name[15:]: user[name] for name in of_attention}})
clicks = {residual}attention(clicks, clicks, clicks)[0]"""


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
