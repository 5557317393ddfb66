"""Combines the views of an article into one vector: by attention (NAML), concatenated (LSTUR)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from recbole_tinynews.encoder.pooling import AttentionPooling
from recbole_tinynews.files.columns import CATEGORIES

SMALL_WEIGHT = 0.01  # for vectors with entries around 1, beside one of unit length


class ViewAttention(nn.Module):
    """``r = sum_v softmax_v(q . tanh(U r_v + u)) r_v`` over the views ``v`` of an article.

    NAML (Wu et al., IJCAI 2019). For a category, ``r_c = ReLU(V_c e_c + v_c)``. ``sizes`` are those
    of the views' vectors; texts have the size ``dim`` of a news vector.
    """

    def __init__(self, sizes: Mapping[str, int], dim: int, query_dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.dense = nn.ModuleDict(
            {view: nn.Linear(sizes[view], dim) for view in sizes if view in CATEGORIES}
        )
        self.pooling = AttentionPooling(dim, query_dim)

    def forward(self, views: Mapping[str, Tensor]) -> Tensor:
        """Vectors ``[articles, size]`` of each view -> ``[articles, dim]``."""
        vectors = [
            self.dense[view](each).relu() if view in self.dense else each
            for view, each in views.items()
        ]
        return self.pooling(torch.stack(vectors, dim=1))


class StartsAsText(nn.Module):
    """``r = r_text + w own({view: r_v})`` with a ``w`` that trains from 0.

    An article starts as the pretrained vector of the view ``text`` (docs/method.md, section 1);
    ``own`` maps ``{view: [articles, size]}`` to ``[articles, dim]``.
    """

    def __init__(self, text: str, own: nn.Module) -> None:
        super().__init__()
        self.text, self.own = text, cast("Any", own)
        self.dim = self.own.dim
        self.own_weight = nn.Parameter(torch.tensor(0.0))

    def forward(self, views: Mapping[str, Tensor]) -> Tensor:
        """Vectors ``[articles, size]`` of each view -> ``[articles, dim]``."""
        return views[self.text] + self.own_weight * self.own(views)


class ViewConcatenation(nn.Module):
    """Vectors of all views concatenated (LSTUR, An et al., ACL 2019).

    The view ``starts_as``, if any, dominates at the start; others' weight is small but not 0.
    """

    def __init__(self, sizes: Mapping[str, int], starts_as: str | None = None) -> None:
        super().__init__()
        self.dim = sum(sizes.values())
        self.starts_as = starts_as
        small = torch.tensor(SMALL_WEIGHT)
        self.others_weight = None if starts_as is None else nn.Parameter(small)

    def forward(self, views: Mapping[str, Tensor]) -> Tensor:
        """Vectors ``[articles, size]`` of each view -> ``[articles, dim]``."""
        weight = self.others_weight
        vectors = [
            each if weight is None or view == self.starts_as else each * weight
            for view, each in views.items()
        ]
        return torch.cat(vectors, dim=-1)
