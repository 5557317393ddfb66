"""What vectors say of a candidate and its reader's last clicks, and of the page that it is on."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from recbole_tinynews.data.popularity import Counting
from recbole_tinynews.model.interface import BatchContext

OF_CLICKS = ("nearest click", "newest click")
OF_PAGE = ("on a page", "same page", "page")


def further_features(counting: Counting) -> int:
    """Number of features that follow the counters: of the visit, of clicks, of the page."""
    of_clicks = len(OF_CLICKS) if counting.reader else 0
    of_page = len(OF_PAGE) if counting.page else 0
    return len(counting.context) + of_clicks + of_page


def reader_features(
    news: Tensor, history: Tensor, context: BatchContext, page: Tensor | None
) -> Tensor:
    """Cosines of candidates with clicks and page, ``[batch, candidates, 2 or 5]``.

    The largest with a click, that with the newest one; then whether the impression is on an
    article's page, whether the candidate is that article, and its cosine with it. 0 where there is
    none.

    Args:
        news: vectors of the candidates, ``[batch, candidates, dim]``.
        history: vectors of the clicks, newest last, ``[batch, history, dim]``.
        context: ids of both, 0 where there is none.
        page: vector of the page's article, ``[batch, dim]``, if pages are read.
    """
    news, history = F.normalize(news, dim=-1), F.normalize(history, dim=-1)
    clicked = context.history != 0
    cosines = news @ history.transpose(1, 2)  # [batch, candidates, history]
    nearest = cosines.masked_fill(~clicked[:, None], -1).amax(2)
    any_click = clicked.any(1, keepdim=True)
    parts = [torch.where(any_click, nearest, 0), cosines[..., -1] * clicked[:, -1:]]
    if page is not None and context.page is not None:
        on_page = (context.page != 0).unsqueeze(1)
        same = (context.candidates == context.page.unsqueeze(1)) & on_page
        to_page = (news @ F.normalize(page, dim=-1).unsqueeze(-1)).squeeze(-1)
        parts += [on_page.expand(same.shape).to(news.dtype), same.to(news.dtype), to_page * on_page]
    return torch.stack(parts, dim=-1)


def features_of_impressions(
    news: Tensor, history: Tensor, sizes: Tensor, context: BatchContext, page: Tensor | None
) -> Tensor:
    """``reader_features`` of whole impressions, ``[sum of sizes, 2 or 5]``.

    One impression after the other, since one of them may have many times as many candidates.
    """
    lengths, features = sizes.tolist(), []
    ids = context.candidates.split(lengths)
    for row, candidates in enumerate(news.split(lengths)):
        one = slice(row, row + 1)
        of_page = None if context.page is None else context.page[one]
        own = BatchContext(context.history[one], ids[row][None], page=of_page)
        vector = None if page is None else page[one]
        features.append(reader_features(candidates[None], history[one], own, vector)[0])
    return torch.cat(features)
