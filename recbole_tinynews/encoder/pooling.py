"""Pooling: several vectors into one, where some of them may be masked."""

from __future__ import annotations

from torch import Tensor, nn


class AttentionPooling(nn.Module):
    """Additive attention with one learned query: ``sum_j softmax_j(q . tanh(W x_j + b) + c) x_j``.

    PLM-NR (Wu et al., SIGIR 2021) and Tiny-NewsRec (EMNLP 2022), the base model. A row that is
    masked everywhere gives zeros, not NaN.

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
        return self.query(self.projection(inputs).tanh()).squeeze(-1)

    def forward(
        self, inputs: Tensor, mask: Tensor | None = None, energy: Tensor | None = None
    ) -> Tensor:
        """Pool the middle axis: ``[batch, length, dim]`` -> ``[batch, dim]``.

        Shapes:
            mask: ``[batch, length]``, True where an input takes part; ``None``: all do.
            energy: ``[batch, length]``, where it is known already.
        """
        if mask is None:
            weights = (self.energy(inputs) if energy is None else energy).softmax(dim=-1)
        else:
            if energy is None:  # of nothing that is masked: a third of all histories is empty
                energy = inputs.new_zeros(mask.shape).masked_scatter(
                    mask, self.energy(inputs[mask]).to(inputs.dtype)
                )
            energy = energy.masked_fill(~mask, float("-inf"))
            nothing = ~mask.any(dim=-1, keepdim=True)  # a softmax over -inf alone would be NaN
            energy = energy.masked_fill(nothing, 0.0)
            weights = energy.softmax(dim=-1) * mask
        return (weights.unsqueeze(-2) @ inputs).squeeze(-2)


def mean_pooling(inputs: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean over the middle axis of ``[batch, length, dim]``; zeros where nothing takes part."""
    if mask is None:
        return inputs.mean(dim=-2)
    taking_part = mask.unsqueeze(-1).to(inputs.dtype)
    return (inputs * taking_part).sum(dim=-2) / taking_part.sum(dim=-2).clamp(min=1)
