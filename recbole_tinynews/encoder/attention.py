"""Attention within texts of one length, and the function that transformers calls for it.

transformers lets a language model's own code call another attention function. Ours takes texts
behind each other in one row, and lets each token see those of its own text alone; so any
architecture that asks for its attention there runs without padding, and without a line for it here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from recbole_tinynews.encoder.dropout import drop_out
from recbole_tinynews.encoder.packing import Pack

PACKED = "packed_texts"  # its name in transformers

Scores = list[Tensor]  # one entry for each block, ``[texts, heads, length, length]``


class _Row(NamedTuple):
    """What the row holds that passes through the language model now.

    Attributes:
        pack: the lengths of its texts.
        real: ``[tokens]``, True where a token may be attended to; ``None``: everywhere.
        scores: the lists that take the scores, by attention module.
    """

    pack: Pack
    real: Tensor | None
    scores: Mapping[nn.Module, Scores]


_now: ContextVar[_Row | None] = ContextVar("packed_row", default=None)


@contextmanager
def packed_row(
    pack: Pack, real: Tensor | None, scores: Mapping[nn.Module, Scores]
) -> Iterator[None]:
    """Inside, a model whose attention is ``PACKED`` reads one row of these texts."""
    token = _now.set(_Row(pack, real, scores))
    try:
        yield
    finally:
        _now.reset(token)


def attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    seen: Tensor | None = None,
    dropout: float = 0.0,
    scale: float | None = None,
    scores: Scores | None = None,
) -> Tensor:
    """The attention output of each token, ``[texts, heads, length, size]``.

    Shapes:
        queries, keys, values: ``[texts, heads, length, size]``.
        seen: True where a token (third dimension) may attend to another (fourth); it broadcasts to
            ``[texts, heads, length, length]``. ``None``: everywhere.
        scores: a list that takes the scores before mask and softmax; ``None``: they are not kept.
    """
    fused = queries.is_cuda or (queries.dtype == torch.float32 and not dropout)
    if fused and scores is None:
        return F.scaled_dot_product_attention(queries, keys, values, seen, dropout, scale=scale)
    # a CPU's fused attention has no dropout, and a backward pass many times slower
    factor = queries.shape[-1] ** -0.5 if scale is None else scale
    energy = (queries * factor) @ keys.transpose(-1, -2)
    if scores is not None:
        scores.append(energy)
    if seen is not None:
        energy = energy.masked_fill(~seen, float("-inf"))
    return drop_out(energy.softmax(dim=-1), dropout) @ values


def _packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention within each text of the row, as transformers calls it.

    Shapes:
        query: ``[1, heads, tokens, size]``.
        key, value: ``[1, heads or a divisor of it, tokens, size]``.
        returned: ``[1, tokens, heads, size]``.

    Raises:
        ValueError: the model asks for more than attention, such as a bias for each position.
    """
    now = _now.get()
    more = [name for name in ("softcap", "position_bias", "s_aux") if others.get(name) is not None]
    if now is None or more:
        raise ValueError(
            f"{PACKED} expects a call inside of packed_row and attention alone, got "
            f"{', '.join(more) or 'one outside'}."
        )
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    repeats = query.shape[1] // key.shape[1]  # grouped heads share keys and values
    parts = [now.pack.split(each[0].transpose(0, 1)) for each in (query, key, value)]
    masks = [None] * len(now.pack.blocks) if now.real is None else now.pack.split(now.real)
    out = []
    for queries, keys, values, mask in zip(*parts, masks, strict=True):
        texts, length, heads = queries.shape[:3]
        if repeats > 1:
            keys, values = (each.repeat_interleave(repeats, dim=2) for each in (keys, values))
        context = attend(
            queries.transpose(1, 2),
            keys.transpose(1, 2),
            values.transpose(1, 2),
            _seen(length, causal, sliding_window, mask, query.device),
            dropout,
            scaling,
            now.scores.get(module),
        )
        out.append(context.transpose(1, 2).reshape(texts * length, heads, -1))
    return torch.cat(out)[None], None


def _seen(
    length: int, causal: bool, window: int | None, mask: Tensor | None, device: torch.device
) -> Tensor | None:
    """Which tokens of a text each of its tokens may attend to; ``None``: all of them."""
    seen = None if mask is None else mask[:, None, None, :]
    if not causal and (window is None or length <= window):
        return seen
    place = torch.arange(length, device=device)
    before = place[:, None] - place[None, :]
    near = before >= 0 if causal else torch.ones_like(before, dtype=torch.bool)
    if window is not None:
        near = near & (before.abs() < window)
    return near if seen is None else near & seen


AttentionInterface.register(PACKED, _packed_attention)
AttentionMaskInterface.register(PACKED, lambda *_, **__: None)  # the row needs no mask
