"""Attention within each text of a packed row, registered with transformers; fast dropout."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from typing import Any, NamedTuple

import torch
import transformers
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from recbole_tinynews.encoder.packing import PackedTexts

_DRAWS = 1 << 16  # of 16 random bits


class Dropout(nn.Dropout):
    """torch's dropout, by ``drop_out``."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Drop out in training mode."""
        return drop_out(inputs, self.p) if self.training else inputs


def drop_out(inputs: Tensor, probability: float) -> Tensor:
    """Dropout; a CPU draws once for four inputs and rounds to multiples of ``2**-16``."""
    if inputs.device.type != "cpu" or not 0 < probability < 1:
        return F.dropout(inputs, probability)
    return inputs * _kept(inputs, probability)


def _kept(inputs: Tensor, probability: float) -> Tensor:
    """Factors of ``drop_out`` on a CPU: 0 for dropped inputs."""
    bits = torch.empty(-(-inputs.numel() // 4), dtype=torch.int64).random_(-(1 << 63), None)
    draws = bits.view(torch.int16)[: inputs.numel()].view(inputs.shape)
    dropped = min(round(probability * _DRAWS), _DRAWS - 1)
    kept = torch.ge(draws, dropped - _DRAWS // 2, out=torch.empty_like(inputs))  # no conversion
    return kept.mul_(_DRAWS / (_DRAWS - dropped))


def set_dropout(module: nn.Module, probability: float) -> None:
    """Set the dropout probability of a module itself, not of its submodules."""
    for name, child in module.named_children():
        if isinstance(child, nn.Dropout):
            setattr(module, name, Dropout(probability))
    for name, value in vars(module).items():  # some modules store a number
        if "dropout" in name and isinstance(value, float):
            vars(module)[name] = probability


@cache
def varlen_attn() -> Any:
    """Torch's function, whose import is slow; older torch lacks it, or its scale and window."""
    with suppress(ImportError):
        from torch.nn.attention.varlen import varlen_attn as found

        if {"scale", "window_size", "enable_gqa"} <= {*inspect.signature(found).parameters}:
            return found
    return None


PACKED = "packed_texts"  # its name in transformers

# devices where one kernel for all texts of a row is faster than one per length
ONE_KERNEL = frozenset({"cuda"})

Scores = list[Tensor]  # one per block, ``[texts, heads, length, length]``


class _Row(NamedTuple):
    texts: PackedTexts
    scores: Mapping[nn.Module, Scores]  # lists that collect scores, by attention module


_now: ContextVar[_Row | None] = ContextVar("packed_row", default=None)


@contextmanager
def packed_row(texts: PackedTexts, scores: Mapping[nn.Module, Scores]) -> Iterator[None]:
    """Let models with ``PACKED`` attention read one row of these texts."""
    register_packed_attention()  # a process may have unpickled them
    token = _now.set(_Row(texts, scores))
    try:
        yield
    finally:
        _now.reset(token)


class Rules(NamedTuple):
    """How a token attends to its text."""

    dropout: float = 0.0  # of attention weights
    scale: float | None = None  # of scores; None: 1 / sqrt(head size)
    causal: bool = False  # whether later tokens are hidden
    window: int | None = None  # tokens to each side, itself included; None: all


def attend_within_texts(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    texts: PackedTexts,
    rules: Rules,
    scores: Scores | None = None,
) -> Tensor:
    """Attention output ``[tokens, heads, size]``; each token attends to its own text.

    ``keys`` and ``values`` may have fewer heads, a divisor of their number (grouped-query
    attention). ``scores`` collects those of each block before mask and softmax.
    """
    kernel = _one_kernel(queries, texts, rules, scores)
    if kernel is not None:
        return kernel(queries, keys, values, texts, rules)
    keys, values = _for_each_head(keys, values, queries.shape[1])
    if _trains_on_cpu(queries, texts, rules, scores):
        return TrainedAttention.apply(torch.stack([queries, keys, values], 1), texts, rules)
    blocks = zip(texts.split(queries), texts.split(keys), texts.split(values), strict=True)
    return _each_length(blocks, texts, rules, scores)


def attend_stacked(
    stacked: Tensor, texts: PackedTexts, rules: Rules, scores: Scores | None
) -> Tensor:
    """``attend_within_texts`` on stacked projections, ``[tokens, 3, heads, size]``."""
    if _one_kernel(stacked, texts, rules, scores) is not None:
        queries, keys, values = stacked.unbind(1)
        return attend_within_texts(queries, keys, values, texts, rules)
    if _trains_on_cpu(stacked, texts, rules, scores):
        return TrainedAttention.apply(stacked, texts, rules)
    # split first: else three gradients of the whole row are copied into one
    blocks = (block.unbind(2) for block in texts.split(stacked))
    return _each_length(blocks, texts, rules, scores)


def _each_length(
    blocks: Iterable[Sequence[Tensor]], texts: PackedTexts, rules: Rules, scores: Scores | None
) -> Tensor:
    """Attention per length; a block is queries, keys, values ``[texts, length, heads, size]``."""
    out = []
    for block, mask in zip(blocks, texts.masks(), strict=True):
        count, length, heads, _ = block[0].shape
        queries, keys, values = (each.transpose(1, 2) for each in block)
        seen = _seen(length, rules.causal, rules.window, mask, queries.device)
        context = attend(queries, keys, values, seen, rules.dropout, rules.scale, scores)
        out.append(context.transpose(1, 2).reshape(count * length, heads, -1))
    return torch.cat(out)


class TrainedAttention(torch.autograd.Function):
    """Attention per length on a CPU, of stacked projections, with a backward pass of its own.

    Equals the operations in ``attend`` in half the time, since fewer tensors are copied.
    """

    @staticmethod
    def forward(ctx: Any, stacked: Tensor, texts: PackedTexts, rules: Rules) -> Tensor:
        """``[tokens, 3, heads, size] -> [tokens, heads, size]``."""
        scale = stacked.shape[-1] ** -0.5 if rules.scale is None else rules.scale
        out, saved = stacked.new_empty(len(stacked), *stacked.shape[2:]), []
        for block, context in zip(texts.split(stacked), texts.split(out), strict=True):
            parts = block.permute(2, 0, 3, 1, 4).clone(memory_format=torch.contiguous_format)
            queries, keys, values = parts
            energy = _pairs(queries.mul_(scale), keys)
            weights, kept = energy.softmax(dim=_axis_of_keys(energy)), torch.ones(())
            if rules.dropout:
                kept = _queries_first(_kept(energy, rules.dropout)).contiguous()
            context.copy_((_queries_first(weights * kept) @ values).transpose(1, 2))
            saved += [parts, weights, kept]
        ctx.save_for_backward(*saved)
        ctx.texts, ctx.scale = texts, scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Gradient of the stacked projections."""
        saved, texts = ctx.saved_tensors, ctx.texts
        out = gradient.new_empty(len(gradient), 3, *gradient.shape[1:])
        blocks = zip(texts.split(out), texts.split(gradient), strict=True)
        for number, (block, of_context) in enumerate(blocks):
            (queries, keys, values), weights, kept = saved[3 * number : 3 * number + 3]
            of_context = of_context.transpose(1, 2).contiguous()
            of_weights, axis = _pairs(of_context, values).mul_(kept), _axis_of_keys(weights)
            of_energy = _queries_first(
                torch.ops.aten._softmax_backward_data(of_weights, weights, axis, weights.dtype)
            )
            of_queries, of_keys, of_values = block.permute(2, 0, 3, 1, 4)
            of_queries.copy_((of_energy @ keys).mul_(ctx.scale))
            of_keys.copy_(of_energy.transpose(-1, -2) @ queries)
            of_values.copy_(_queries_first(weights * kept).transpose(-1, -2) @ of_context)
        return out, None, None


_REGISTER = 16  # fp32 values; torch's softmax over a shorter last axis takes one at a time


def _pairs(queries: Tensor, keys: Tensor) -> Tensor:
    """Products of all pairs in a text, ``[..., queries, keys]``; of short ones with keys first."""
    rows, columns = (keys, queries) if keys.shape[-2] < _REGISTER else (queries, keys)
    return rows @ columns.transpose(-1, -2)


def _axis_of_keys(pairs: Tensor) -> int:
    return -2 if pairs.shape[-1] < _REGISTER else -1


def _queries_first(pairs: Tensor) -> Tensor:
    """``pairs`` as ``[..., queries, keys]``, or back."""
    return pairs.transpose(-1, -2) if pairs.shape[-1] < _REGISTER else pairs


def _trains_on_cpu(inputs: Tensor, texts: PackedTexts, rules: Rules, scores: Scores | None) -> bool:
    """Whether ``TrainedAttention`` supports this."""
    plain = scores is None and texts.real is None and not rules.causal
    sees_all = rules.window is None or texts.longest <= rules.window
    is_exact = inputs.device.type == "cpu" and inputs.dtype in (torch.float32, torch.float64)
    return plain and sees_all and is_exact and torch.is_grad_enabled() and inputs.requires_grad


Kernel = Callable[[Tensor, Tensor, Tensor, PackedTexts, Rules], Tensor]


def _one_kernel(
    queries: Tensor, texts: PackedTexts, rules: Rules, scores: Scores | None
) -> Kernel | None:
    """A kernel for all texts at once; ``None`` if no kernel supports these rules."""
    if queries.device.type not in ONE_KERNEL or scores is not None or texts.real is not None:
        return None
    if not rules.dropout and _fits_flash(queries):
        return _variable_lengths
    sees_all = rules.window is None or texts.longest <= rules.window
    return _nested if sees_all and not rules.causal else None


def _fits_flash(queries: Tensor) -> bool:
    """Whether torch's variable-length kernel supports them: half precision, Ampere or later."""
    size = queries.shape[-1]
    if queries.dtype not in (torch.float16, torch.bfloat16) or varlen_attn() is None:
        return False
    recent = not queries.is_cuda or torch.cuda.get_device_capability(queries.device) >= (8, 0)
    return recent and size % 8 == 0 and size <= 256


def _variable_lengths(
    queries: Tensor, keys: Tensor, values: Tensor, texts: PackedTexts, rules: Rules
) -> Tensor:
    """Torch's fused variable-length attention; no dropout, no fp32."""
    before = -1 if rules.window is None else rules.window - 1  # -1: no limit
    return varlen_attn()(
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
    starts, shortest = texts.starts.long(), texts.pack.blocks[0].length

    def nested(row: Tensor) -> Tensor:  # given bounds avoid a synchronisation
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
    """Attention output, ``[texts, heads, length, size]``, the shape of queries, keys and values.

    ``seen`` broadcasts to ``[texts, heads, length, length]``: whether a query (third axis) sees a
    key. ``scores`` collects the scores before mask and softmax.
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
    """Called by transformers: ``[1, heads, tokens, size]`` -> ``[1, tokens, heads, size]``."""
    now = _now.get()
    more = [name for name in ("softcap", "position_bias", "s_aux") if others.get(name) is not None]
    if now is None or more:
        raise ValueError(
            f"{PACKED} expects a call inside packed_row, of plain attention, got "
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
    """Which tokens of its text a token may attend to; ``None``: all."""
    seen = None if mask is None else mask[:, None, None, :]
    if not causal and (window is None or length <= window):
        return seen
    place = torch.arange(length, device=device)
    before = place[:, None] - place[None, :]
    near = before >= 0 if causal else torch.ones_like(before, dtype=torch.bool)
    if window is not None:
        near = near & (before.abs() < window)
    return near if seen is None else near & seen


def register_packed_attention() -> None:
    """Let models of transformers have ``PACKED`` attention."""
    transformers.AttentionInterface.register(PACKED, _packed_attention)
    # a packed row needs no mask
    transformers.AttentionMaskInterface.register(PACKED, lambda *_, **__: None)
