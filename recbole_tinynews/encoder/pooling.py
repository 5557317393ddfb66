"""Pooling: several vectors into one, where some of them may be masked."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class AttentionPooling(nn.Module):
    """Additive attention with one learned query: ``sum_j softmax_j(q . tanh(W x_j + b) + c) x_j``.

    PLM-NR (Wu et al., SIGIR 2021) and Tiny-NewsRec (EMNLP 2022), the base model. A row that is
    masked everywhere gives zeros, not NaN. ``c`` does not train: the softmax does not depend on it,
    and its gradient would be rounding errors, which Adam scales up.

    Args:
        dim: size of a vector.
        query_dim: size of the query.
        starts_as_mean: whether the query starts as zero, and all weights equal.
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
        """Pool the middle axis: ``[batch, length, dim]`` -> ``[batch, dim]``.

        Shapes:
            mask: ``[batch, length]``, True where an input takes part; ``None``: all do.
            energy: ``[batch, length]``, where it is known already.
        """
        energy = self.energy(inputs) if energy is None else energy
        return (masked_softmax(energy, mask).unsqueeze(-2) @ inputs).squeeze(-2)

    def weights(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """The weight of each input, ``[batch, length]``; ``forward`` has the arguments."""
        return masked_softmax(self.energy(inputs), mask)

    def rows(self, inputs: Tensor, starts: Tensor) -> Tensor:
        """Pool parts of one row: ``[inputs, dim]`` -> ``[parts, dim]``.

        Shapes:
            starts: ``[parts + 1]``, where each part starts, and where the last one ends.
        """
        energy = self.energy(inputs).float()
        part = _part_of_each(starts, len(inputs))
        highest = energy.new_zeros(len(starts) - 1).scatter_reduce(
            0, part, energy.detach(), "amax", include_self=False
        )
        weights = (energy - highest[part]).exp()
        total = _sum_parts(weights, part, starts)
        return _sum_parts(inputs.float() * (weights / total[part])[:, None], part, starts).to(
            inputs.dtype
        )


def masked_softmax(energy: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax over those that take part; zeros for a row that is masked everywhere."""
    if mask is None:
        return energy.softmax(dim=-1)
    energy = energy.masked_fill(~mask, float("-inf"))
    nothing = ~mask.any(dim=-1, keepdim=True)  # a softmax over -inf alone would be NaN
    return energy.masked_fill(nothing, 0.0).softmax(dim=-1) * mask


def mean_pooling(inputs: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean over the middle axis of ``[batch, length, dim]``; zeros where nothing takes part."""
    if mask is None:
        return inputs.mean(dim=-2)
    taking_part = mask.unsqueeze(-1).to(inputs.dtype)
    return (inputs * taking_part).sum(dim=-2) / taking_part.sum(dim=-2).clamp(min=1)


def mean_of_rows(inputs: Tensor, starts: Tensor) -> Tensor:
    """Mean of each part of one row, ``[inputs, dim]`` -> ``[parts, dim]``, as ``rows``."""
    sums = _sum_parts(inputs.float(), _part_of_each(starts, len(inputs)), starts)
    return (sums / starts.diff()[:, None]).to(inputs.dtype)


def _part_of_each(starts: Tensor, inputs: int) -> Tensor:
    # with their number, for which the device would have to be asked
    return torch.repeat_interleave(starts.diff().long(), output_size=inputs)


def _sum_parts(inputs: Tensor, part: Tensor, starts: Tensor) -> Tensor:
    return inputs.new_zeros(len(starts) - 1, *inputs.shape[1:]).index_add(0, part, inputs)
