"""Attention within each text of a row, also as an attention implementation of transformers.

It takes texts concatenated in one row, and each token attends to its own text only. So every
architecture that uses transformers' attention interface runs without padding.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from recbole_tinynews.encoder.dropout import drop_out
from recbole_tinynews.encoder.packing import PackedTexts

varlen_attn: Any = None  # an earlier torch has none, or one that knows neither scale nor window
with suppress(ImportError):
    from torch.nn.attention.varlen import varlen_attn

    if not {"scale", "window_size", "enable_gqa"} <= {*inspect.signature(varlen_attn).parameters}:
        varlen_attn = None

PACKED = "packed_texts"  # its name in transformers

# where one kernel for all texts of a row is faster than one for each length
ONE_KERNEL = frozenset({"cuda"})

Scores = list[Tensor]  # one entry for each block, ``[texts, heads, length, length]``


class _Row(NamedTuple):
    """The row that passes through the language model.

    Attributes:
        texts: the texts of the row.
        scores: lists that collect the scores, by attention module.
    """

    texts: PackedTexts
    scores: Mapping[nn.Module, Scores]


_now: ContextVar[_Row | None] = ContextVar("packed_row", default=None)


@contextmanager
def packed_row(texts: PackedTexts, scores: Mapping[nn.Module, Scores]) -> Iterator[None]:
    """Inside, a model with ``PACKED`` attention reads one row of these texts."""
    token = _now.set(_Row(texts, scores))
    try:
        yield
    finally:
        _now.reset(token)


class Rules(NamedTuple):
    """How a token attends to its text.

    Attributes:
        dropout: of the attention weights.
        scale: of the scores; ``None``: one over the root of a head's size.
        causal: whether it attends to no later token.
        window: number of tokens to each side, itself included; ``None``: all.
    """

    dropout: float = 0.0
    scale: float | None = None
    causal: bool = False
    window: int | None = None


def attend_within_texts(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    texts: PackedTexts,
    rules: Rules,
    scores: Scores | None = None,
) -> Tensor:
    """The attention output of each token, which attends to its own text only.

    Shapes:
        queries: ``[tokens, heads, size]``.
        keys, values: ``[tokens, heads or a divisor of it, size]``: heads may share them.
        scores: a list that collects the scores of each block before mask and softmax; ``None``:
            they are not kept.
        returned: ``[tokens, heads, size]``.
    """
    kernel = _one_kernel(queries, texts, rules, scores)
    if kernel is not None:
        return kernel(queries, keys, values, texts, rules)
    keys, values = _for_each_head(keys, values, queries.shape[1])
    blocks = zip(texts.split(queries), texts.split(keys), texts.split(values), strict=True)
    return _each_length(blocks, texts, rules, scores)


def attend_stacked(
    stacked: Tensor, texts: PackedTexts, rules: Rules, scores: Scores | None
) -> Tensor:
    """``attend_within_texts`` of stacked projections, ``[tokens, 3, heads, size]``."""
    if _one_kernel(stacked, texts, rules, scores) is not None:
        queries, keys, values = stacked.unbind(1)
        return attend_within_texts(queries, keys, values, texts, rules)
    # split first: three gradients of the whole row would be copied into one
    blocks = (block.unbind(2) for block in texts.split(stacked))
    return _each_length(blocks, texts, rules, scores)


def _each_length(
    blocks: Iterable[Sequence[Tensor]], texts: PackedTexts, rules: Rules, scores: Scores | None
) -> Tensor:
    """Attention of the texts of one length at a time.

    Shapes:
        blocks: queries, keys and values of each, ``[texts, length, heads, size]``.
    """
    out = []
    for block, mask in zip(blocks, texts.masks(), strict=True):
        count, length, heads, _ = block[0].shape
        queries, keys, values = (each.transpose(1, 2) for each in block)
        seen = _seen(length, rules.causal, rules.window, mask, queries.device)
        context = attend(queries, keys, values, seen, rules.dropout, rules.scale, scores)
        out.append(context.transpose(1, 2).reshape(count * length, heads, -1))
    return torch.cat(out)


Kernel = Callable[[Tensor, Tensor, Tensor, PackedTexts, Rules], Tensor]


def _one_kernel(
    queries: Tensor, texts: PackedTexts, rules: Rules, scores: Scores | None
) -> Kernel | None:
    """The kernel for all texts at once; ``None``: there is none for these rules."""
    if queries.device.type not in ONE_KERNEL or scores is not None or texts.real is not None:
        return None
    if not rules.dropout and _fits_flash(queries):
        return _variable_lengths
    sees_all = rules.window is None or texts.longest <= rules.window
    return _nested if sees_all and not rules.causal else None


def _fits_flash(queries: Tensor) -> bool:
    """Whether torch's kernel for variable lengths supports them: half precision, from Ampere on."""
    size = queries.shape[-1]
    if varlen_attn is None or queries.dtype not in (torch.float16, torch.bfloat16):
        return False
    recent = not queries.is_cuda or torch.cuda.get_device_capability(queries.device) >= (8, 0)
    return recent and size % 8 == 0 and size <= 256


def _variable_lengths(
    queries: Tensor, keys: Tensor, values: Tensor, texts: PackedTexts, rules: Rules
) -> Tensor:
    """Torch's fused attention over texts of any lengths; no dropout, no fp32."""
    before = -1 if rules.window is None else rules.window - 1  # -1: as far as the text goes
    return varlen_attn(
        queries.contiguous(),
        keys.contiguous(),
        values.contiguous(),
        texts.starts,
        texts.starts,
        texts.longest,
        texts.longest,
        scale=rules.scale,
        window_size=(before, 0 if rules.causal else before),
        enable_gqa=queries.shape[1] != keys.shape[1],
    )


def _nested(
    queries: Tensor, keys: Tensor, values: Tensor, texts: PackedTexts, rules: Rules
) -> Tensor:
    """The attention of torch's nested tensors, over texts of any lengths."""
    starts, shortest = texts.starts.long(), texts.pack.blocks[0].length

    def nested(row: Tensor) -> Tensor:  # with bounds, which the device would be asked for
        made = torch.nested.nested_tensor_from_jagged(
            row.contiguous(), starts, min_seqlen=shortest, max_seqlen=texts.longest
        )
        return made.transpose(1, 2)

    keys, values = _for_each_head(keys, values, queries.shape[1])
    context = F.scaled_dot_product_attention(
        nested(queries), nested(keys), nested(values), dropout_p=rules.dropout, scale=rules.scale
    )
    return context.transpose(1, 2).values()


def _for_each_head(keys: Tensor, values: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Shared keys and values, repeated for each head."""
    repeats = heads // keys.shape[1]
    if repeats == 1:
        return keys, values
    return keys.repeat_interleave(repeats, dim=1), values.repeat_interleave(repeats, dim=1)


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
        seen: True where a query (third dimension) may attend to a key (fourth); it broadcasts to
            ``[texts, heads, length, length]``. ``None``: everywhere.
        scores: a list that collects the scores before mask and softmax; ``None``: not kept.
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
        ValueError: the model needs more, such as a bias for each position.
    """
    now = _now.get()
    more = [name for name in ("softcap", "position_bias", "s_aux") if others.get(name) is not None]
    if now is None or more:
        raise ValueError(
            f"{PACKED} expects a call inside of packed_row and attention alone, got "
            f"{', '.join(more) or 'one outside'}."
        )
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    context = attend_within_texts(
        query[0].transpose(0, 1),
        key[0].transpose(0, 1),
        value[0].transpose(0, 1),
        now.texts,
        Rules(dropout, scaling, causal, sliding_window),
        now.scores.get(module),
    )
    return context[None], None


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
