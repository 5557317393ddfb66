"""The views of an article into one vector: attention over them (NAML), or all of them (LSTUR)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from recbole_tinynews.encoder.pooling import AttentionPooling
from recbole_tinynews.files.columns import CATEGORY, SUBCATEGORY


class ViewAttention(nn.Module):
    """``r = sum_v softmax_v(q . tanh(U r_v + u)) r_v`` over the views ``v`` of an article.

    NAML (Wu et al., IJCAI 2019). That of a category is ``r_c = ReLU(V_c e_c + v_c)``.

    Args:
        sizes: of the vector of each view; that of a text is ``dim``.
        dim: size of a news vector.
        query_dim: size of the query.

    Attributes:
        dim: size of a news vector.
    """

    def __init__(self, sizes: Mapping[str, int], dim: int, query_dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.dense = nn.ModuleDict(
            {view: nn.Linear(sizes[view], dim) for view in sizes if view in (CATEGORY, SUBCATEGORY)}
        )
        self.pooling = AttentionPooling(dim, query_dim)

    def forward(self, views: Mapping[str, Tensor]) -> Tensor:
        """Vectors ``[articles, size]`` of each view -> ``[articles, dim]``."""
        vectors = [
            self.dense[view](each).relu() if view in self.dense else each
            for view, each in views.items()
        ]
        return self.pooling(torch.stack(vectors, dim=1))


class ViewConcatenation(nn.Module):
    """``r = [r_v; ...]``, the vectors of all views behind each other.

    LSTUR (An et al., ACL 2019).

    Attributes:
        dim: size of a news vector.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.dim = sum(sizes.values())

    def forward(self, views: Mapping[str, Tensor]) -> Tensor:
        """Vectors ``[articles, size]`` of each view -> ``[articles, dim]``."""
        return torch.cat([*views.values()], dim=-1)
