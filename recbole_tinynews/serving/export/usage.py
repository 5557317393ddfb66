"""For model cards: the formula of a score, and code that ranks without this package."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from recbole_tinynews.encoder.self_attention import HEAD_DIM
from recbole_tinynews.serving.export.description import NEWS_DIM, NEWS_TOKENS

GIVEN = """FOLDER = "..."  # of this file
CLICKS = ["Champions win the cup", "Coach praises young striker"]  # oldest first
CANDIDATES = ["Striker signs for rivals", "Bank raises interest rates"]
"""
POOL = """
def pool(inputs, weights):  # additive attention
    inner = inputs @ weights["pooling.projection.weight"].T + weights["pooling.projection.bias"]
    return torch.softmax(torch.tanh(inner) @ weights["pooling.query.weight"][0], 0) @ inputs
"""
SELF_ATTENTION = """attention = torch.nn.MultiheadAttention({dim}, {heads}, batch_first=True).eval()
of_attention = [name for name in user if name.startswith("self_attention.")]
attention.load_state_dict({{name[15:]: user[name] for name in of_attention}})
clicks = {residual}attention(clicks, clicks, clicks)[0]"""


def formula(settings: Mapping[str, Any]) -> str:
    """News vector, user vector and score, as the settings have them."""
    pretrained, length = settings["head_init"] == "pretrained", settings["history_length"]
    attended = "sum_{i} softmax_{i}(q . tanh(P {x} + p)) {x}"
    pooled = {"attention": attended.format(i="j", x="h_j"), "mean": "mean_j h_j", "cls": "h_1"}
    news = pooled[settings["news_pooling"]]
    vector = f"unit(W ({news} - centre) + b)" if pretrained else f"W ({news}) + b"
    scale = "scale * " if pretrained else ""
    clicks = f"the newest {length} clicks"
    if settings["user_encoder"] == "self_attention":
        clicks += ", after self-attention" + (" that is added to them" if pretrained else "")
    if settings["history_padding"] == "learned":
        otherwise = f"{length} slots, of which the empty ones hold pad_doc"
    else:
        otherwise = f"without clicks, user = {scale}pad_doc"
    return (
        f"score = user . news\n"
        f"news  = {vector}   (h_j: last states of the text's tokens, special ones included)\n"
        f"user  = {scale}{attended.format(i='i', x='n_i')}   "
        f"(n_i: vectors of {clicks}; {otherwise})"
    )


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
    return "\n".join(_ranking(settings))


def _ranking(settings: Mapping[str, Any]) -> Iterator[str]:
    length, scaled = settings["history_length"], settings["head_init"] == "pretrained"
    yield "clicks, candidates = vectors[: len(CLICKS)], vectors[len(CLICKS) :]"
    yield f"clicks = clicks[-{length}:]"
    learned = settings["history_padding"] == "learned"
    if learned:
        yield f'empty = user["pad_doc"].expand({length} - len(clicks), -1)'
        yield "clicks = torch.cat([empty, clicks])"
    else:
        yield 'clicks = clicks if CLICKS else user["pad_doc"][None]'
    if settings["user_encoder"] == "self_attention":
        dim = settings[NEWS_DIM]
        residual = "clicks + " if scaled else ""
        lines = SELF_ATTENTION.format(dim=dim, heads=dim // HEAD_DIM, residual=residual)
        yield lines if learned else "\n    ".join(["if CLICKS:", *lines.splitlines()])
    yield "reader = pool(clicks, user)" + (' * user["scale"]' if scaled else "")
    yield "scores = dict(zip(CANDIDATES, (candidates @ reader).tolist()))"
