"""What vectors say of a candidate and its reader's last clicks, and of the page that it is on."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from recbole_tinynews.data.popularity import Counting

OF_CLICKS = ("nearest click", "newest click")
OF_PAGE = ("on a page", "same page", "page")


def further_features(counting: Counting) -> int:
    """Number of features that follow the counters: of the visit, of clicks, of the page."""
    of_clicks = len(OF_CLICKS) if counting.reader else 0
    of_page = len(OF_PAGE) if counting.page else 0
    return len(counting.context) + of_clicks + of_page


def reader_features(
    news: Tensor, history: Tensor, clicked: Tensor, page: Tensor | None, same: Tensor | None
) -> Tensor:
    """Cosines of candidates with clicks and page, ``[batch, candidates, 2 or 5]``.

    The largest with a click, that with the newest one; then whether the impression is on an
    article's page, whether the candidate is that article, and its cosine with it. 0 where there is
    none.

    Args:
        news: vectors of the candidates, ``[batch, candidates, dim]``.
        history: vectors of the clicks, newest last, ``[batch, history, dim]``.
        clicked: which slots of ``history`` are clicks, ``[batch, history]``.
        page: vector of the page's article, zeros where there is none, ``[batch, dim]``.
        same: whether a candidate is the page's article, ``[batch, candidates]``.
    """
    news, history = F.normalize(news, dim=-1), F.normalize(history, dim=-1)
    cosines = news @ history.transpose(1, 2)  # [batch, candidates, history]
    nearest = cosines.masked_fill(~clicked[:, None], -1).amax(2)
    any_click = clicked.any(1, keepdim=True)
    parts = [torch.where(any_click, nearest, 0), cosines[..., -1] * clicked[:, -1:]]
    if page is not None and same is not None:
        page = F.normalize(page, dim=-1)
        known = page.any(1, keepdim=True).to(news.dtype).expand(same.shape)
        parts += [known, same.to(news.dtype), (news @ page.unsqueeze(-1)).squeeze(-1)]
    return torch.stack(parts, dim=-1)
