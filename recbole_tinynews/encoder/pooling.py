"""Heads: self-attention, pooling of masked rows or packed texts, and identity dense layers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tinynews.encoder.attention import ONE_KERNEL, Rules, attend, attend_stacked
from recbole_tinynews.encoder.packing import PackedTexts

RIDGE = 1e-3  # relative to the mean variance of the dimensions that are mapped
PROJECTION = "projection_of_pooled"  # a part of a language model
HEAD_DIM = 16  # NRMS (Wu et al., EMNLP 2019): 16 heads of 16 make a vector of 256


class SelfAttention(nn.Module):
    """``h_i = [h_i1; ...; h_iK]``, ``h_ik = V_k sum_j softmax_j(e_i Q_k e_j) e_j``, for K heads.

    As in the authors' code, ``Q_k`` is the scaled product of a query and a key matrix, and heads
    are not projected. Raises ``ValueError`` if ``dim`` is not a multiple of ``head_dim``.
    """

    def __init__(self, in_dim: int, dim: int, head_dim: int = HEAD_DIM) -> None:
        super().__init__()
        if dim % head_dim:
            raise ValueError(
                f"SelfAttention expects a size divisible by {head_dim}, the head size, got {dim}. "
                f"Set news_dim to a multiple of {head_dim}."
            )
        self.dim, self.split = dim, (3, dim // head_dim, head_dim)
        self.projections = nn.Linear(in_dim, 3 * dim, bias=False)  # queries, keys, values
        for weight in self.projections.weight.chunk(3):
            nn.init.xavier_uniform_(weight)

    def within_texts(self, hidden: Tensor, texts: PackedTexts) -> Tensor:
        """Attention within each text, ``[tokens, in_dim]`` -> ``[tokens, dim]``."""
        stacked = self.projections(hidden).unflatten(-1, self.split)
        return attend_stacked(stacked, texts, Rules(), None).flatten(1)

    def forward(self, inputs: Tensor, mask: Tensor) -> Tensor:
        """``[batch, length, in_dim]`` -> ``[batch, length, dim]``; arbitrary if fully masked."""
        # the softmax of a fully masked row would be NaN
        seen = (mask | ~mask.any(dim=-1, keepdim=True))[:, None, None, :]
        split = self.projections(inputs).unflatten(-1, self.split)
        queries, keys, values = (part.transpose(1, 2) for part in split.unbind(2))
        return attend(queries, keys, values, seen).transpose(1, 2).flatten(2)


class TokenBag(NamedTuple):
    """States of a vocabulary, and their attention scores, which depend on the token alone."""

    states: Tensor  # [vocabulary, hidden]
    energy: Tensor | None  # [vocabulary]; None: the mean is pooled

    def pool(self, texts: PackedTexts) -> Tensor:
        """Pool each text like ``pool_texts`` without a mask, ``[texts, hidden]``."""
        ids, starts = texts.token_ids, texts.starts.long()
        if self.energy is None:
            return F.embedding_bag(ids, self.states, starts[:-1], mode="mean")
        weights = softmax_of_parts(self.energy[ids], starts)
        return F.embedding_bag(
            ids, self.states, starts[:-1], mode="sum", per_sample_weights=weights
        )


class AttentionPooling(nn.Module):
    """Additive attention with one learned query: ``sum_j softmax_j(q . tanh(W x_j + b) + c) x_j``.

    PLM-NR (Wu et al., SIGIR 2021) and Tiny-NewsRec (EMNLP 2022). A fully masked row gives zeros,
    not NaN. ``c`` does not train: the softmax does not depend on it, and its gradient would be
    rounding errors, which Adam amplifies. With ``starts_as_mean`` the query starts as zero, so all
    weights are equal.
    """

    def __init__(self, dim: int, query_dim: int, starts_as_mean: bool = False) -> None:
        super().__init__()
        self.projection = nn.Linear(dim, query_dim)
        self.query = nn.Linear(query_dim, 1)
        if starts_as_mean:
            nn.init.zeros_(self.query.weight)
            nn.init.zeros_(self.query.bias)

    def energy(self, inputs: Tensor) -> Tensor:
        """Attention scores before the softmax, ``[..., dim]`` -> ``[...]``."""
        hidden = self.projection(inputs).tanh()
        return F.linear(hidden, self.query.weight, self.query.bias.detach()).squeeze(-1)

    def forward(
        self, inputs: Tensor, mask: Tensor | None = None, energy: Tensor | None = None
    ) -> Tensor:
        """Pool ``[batch, length, dim]`` to ``[batch, dim]``; True in ``mask`` is attended to."""
        energy = self.energy(inputs) if energy is None else energy
        return (masked_softmax(energy, mask).unsqueeze(-2) @ inputs).squeeze(-2)

    def weights(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Weights of the inputs, ``[batch, length]``; arguments as for ``forward``."""
        return masked_softmax(self.energy(inputs), mask)

    def rows(self, inputs: Tensor, starts: Tensor) -> Tensor:
        """``[inputs, dim]`` -> ``[parts, dim]``; ``starts``: of each part, then the end."""
        weights = softmax_of_parts(self.energy(inputs).float(), starts)
        part = _part_of_each(starts, len(inputs))
        return _sum_parts(inputs.float() * weights[:, None], part, starts).to(inputs.dtype)


def softmax_of_parts(energy: Tensor, starts: Tensor) -> Tensor:
    """Softmax over each part of one row, ``[inputs]``; see ``AttentionPooling.rows``."""
    part = _part_of_each(starts, len(energy))
    highest = energy.new_zeros(len(starts) - 1).scatter_reduce(
        0, part, energy.detach(), "amax", include_self=False
    )
    weights = (energy - highest[part]).exp()
    return weights / _sum_parts(weights, part, starts)[part]


def masked_softmax(energy: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax over unmasked inputs; zeros for a fully masked row."""
    if mask is None:
        return energy.softmax(dim=-1)
    energy = energy.masked_fill(~mask, float("-inf"))
    nothing = ~mask.any(dim=-1, keepdim=True)  # a softmax over only -inf would be NaN
    return energy.masked_fill(nothing, 0.0).softmax(dim=-1) * mask


def mean_pooling(inputs: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean over the middle axis of ``[batch, length, dim]``; zeros for a fully masked row."""
    if mask is None:
        return inputs.mean(dim=-2)
    taking_part = mask.unsqueeze(-1).to(inputs.dtype)
    return (inputs * taking_part).sum(dim=-2) / taking_part.sum(dim=-2).clamp(min=1)


def mean_of_rows(inputs: Tensor, starts: Tensor) -> Tensor:
    """Mean of each part of one row, ``[inputs, dim]`` -> ``[parts, dim]``; see ``rows``."""
    sums = _sum_parts(inputs.float(), _part_of_each(starts, len(inputs)), starts)
    return (sums / starts.diff()[:, None]).to(inputs.dtype)


def weighted_mean_of_rows(inputs: Tensor, starts: Tensor) -> Tensor:
    """Mean of each part, weighted by positions from 1; shapes as in ``mean_of_rows``."""
    part = _part_of_each(starts, len(inputs))
    position = torch.arange(1, len(inputs) + 1, device=inputs.device) - starts[part]
    weights = position / _sum_parts(position.float(), part, starts)[part]
    return _sum_parts(inputs.float() * weights[:, None], part, starts).to(inputs.dtype)


def _part_of_each(starts: Tensor, inputs: int) -> Tensor:
    # a given size avoids a synchronisation
    return torch.repeat_interleave(starts.diff().long(), output_size=inputs)


def _sum_parts(inputs: Tensor, part: Tensor, starts: Tensor) -> Tensor:
    return inputs.new_zeros(len(starts) - 1, *inputs.shape[1:]).index_add(0, part, inputs)


def pool_texts(
    pooling: AttentionPooling | None, hidden: Tensor, texts: PackedTexts, masked: bool
) -> Tensor:
    """Pool each text by attention or mean, without pad tokens if ``masked``: ``[texts, dim]``."""
    masked = masked and texts.real is not None
    if hidden.device.type in ONE_KERNEL and not masked:
        pool = mean_of_rows if pooling is None else pooling.rows
        return pool(hidden, texts.starts)
    blocks = texts.split(hidden)
    masks = texts.masks() if masked else [None] * len(blocks)
    if pooling is None:
        pooled = [mean_pooling(*each) for each in zip(blocks, masks, strict=True)]
    else:
        energies = texts.split(pooling.energy(hidden))  # of all blocks at once
        pooled = [pooling(*each) for each in zip(blocks, masks, energies, strict=True)]
    return torch.cat(pooled)


class UnitDense(nn.Linear):
    """A dense layer on centred vectors, with output of unit length.

    It starts as the identity, padded with zeros, or as the principal axes of the texts' vectors if
    its output is smaller: dot products start as cosines. ``centre`` is subtracted first, and NaN
    until ``start`` or loaded weights set it, so that a missing start is noticed.
    """

    centre: Tensor

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.register_buffer("centre", torch.full((in_features,), float("nan")))
        nn.init.eye_(self.weight)
        nn.init.zeros_(self.bias)

    @torch.no_grad()
    def start(self, vectors: Iterable[Tensor], centred: bool) -> None:
        """Set principal axes (and ``centred``: the mean) from batches ``[texts, in_features]``."""
        smaller = self.out_features < self.in_features
        texts, total = 0, self.centre.new_zeros(self.in_features, dtype=torch.double)
        products = torch.zeros_like(total.outer(total))
        for some in vectors:
            exact = some.double()
            texts += len(exact)
            total += exact.sum(dim=0)
            if smaller:
                products += exact.T @ exact
        centre = total / texts if centred else torch.zeros_like(total)
        self.centre.copy_(centre)
        if smaller:
            covariance = products - texts * centre.outer(centre)
            self.weight.copy_(principal_axes(covariance, self.out_features))

    def forward(self, inputs: Tensor) -> Tensor:
        """``[..., in_features]`` -> ``[..., out_features]``, of unit length."""
        # before autocast rounds: in many language models, vectors differ little from their mean
        return F.normalize(super().forward(inputs.to(self.centre.dtype) - self.centre), dim=-1)


def principal_axes(covariance: Tensor, count: int) -> Tensor:
    """First principal axes, ``[count, dim]``; the entry of largest magnitude is positive."""
    _, axes = torch.linalg.eigh(covariance)  # ascending
    chosen = axes.T.flip(0)[:count]
    largest = chosen.gather(1, chosen.abs().argmax(dim=1, keepdim=True))
    return chosen * largest.sign()


def fitted_projection(pairs: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Ridge regression ``[to_dim, from_dim]`` from chunks of vectors to fit, vectors to map."""
    products: list[Tensor] = []
    for to, given in pairs:
        exact = given.double()
        some = exact.T @ exact, exact.T @ to.double()
        products = [a + b for a, b in zip(products, some, strict=True)] if products else [*some]
    covariance, shared = products
    ridge = RIDGE * covariance.diagonal().mean().clamp(min=1e-12)
    covariance.diagonal().add_(ridge)
    return torch.linalg.solve(covariance, shared).T


def projected(plm: nn.Module, pooled: Tensor) -> Tensor:
    """Pooled vectors ``[texts, hidden]`` after an embedding model's dense layers, if any."""
    projection = getattr(plm, PROJECTION, None)
    return pooled if projection is None else projection(pooled)
