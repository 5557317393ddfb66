"""PP-Rec's parts: attention over clicks by content and popularity, and counters of clicks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recbole_tinynews.data.impressions import Impressions
from recbole_tinynews.encoder.pooling import AttentionPooling
from recbole_tinynews.encoder.self_attention import SelfAttention
from recbole_tinynews.encoder.users.no_clicks import NoClicks

BUCKETS = 200  # of a click rate, equally wide


class PopularityAwareUser(nn.Module):
    """Self-attention over the clicks, then content-popularity joint attention.

    Qi et al., "PP-Rec", ACL 2021, section 3.4, with ``m_i`` the clicks after self-attention and
    ``p_i`` the vectors of their quantised click rates::

        alpha_i = softmax_i(q . tanh(W [m_i; p_i] + b))     u = sum_i alpha_i m_i

    ``p_i`` is zero where the rate is unknown.
    """

    def __init__(self, news_dim: int, query_dim: int, popularity_dim: int) -> None:
        super().__init__()
        self.self_attention = SelfAttention(news_dim, news_dim)
        self.popularity = nn.Embedding(1 + BUCKETS, popularity_dim, padding_idx=0)
        self.pooling = AttentionPooling(news_dim + popularity_dim, query_dim)
        self.no_clicks = NoClicks(news_dim)

    def forward(self, history: Tensor, clicked: Tensor, rates: Tensor | None = None) -> Tensor:
        """User vectors ``[batch, dim]``; click rates ``[batch, history]``, negative if unknown."""
        if rates is None:
            rates = -torch.ones_like(clicked, dtype=torch.float32)
        attended = self.self_attention(history, clicked)
        popularity = self.popularity(buckets(rates)).to(attended.dtype)
        energy = self.pooling.energy(torch.cat([attended, popularity], dim=-1))
        return self.no_clicks(self.pooling(attended, clicked, energy), clicked)


def buckets(rates: Tensor) -> Tensor:
    """1 to ``BUCKETS`` for rates from 0 to 1; 0 for negative ones.

    >>> buckets(torch.tensor([-1.0, 0.0, 0.0051, 1.0])).tolist()
    [0, 1, 2, 200]
    """
    found = (rates * BUCKETS).long().clamp(max=BUCKETS - 1) + 1
    return found.masked_fill(rates < 0, 0)


class CountsSoFar:
    """Clicks and exposures of an article before a moment, to others than the reader who is asked.

    ``log`` are the impressions that count; each counts from ``delay`` seconds after its time on.
    """

    def __init__(self, log: Impressions, delay: int) -> None:
        row = np.repeat(np.arange(log.rows), log.candidates.lengths)
        article, time = log.candidates.values.astype(np.int64), log.timestamp[row]
        self._users = int(log.user.max(initial=0)) + 1
        self._delay, clicked = delay, log.labels == 1
        self._all = _Running.of(article, time, clicked)
        self._own = _Running.of(article * self._users + log.user[row], time, clicked)

    def at(self, articles: Tensor, users: Tensor, times: Tensor) -> Tensor:
        """Clicks and exposures, float32 ``[..., 2]``; ids and UTC seconds broadcast."""
        asked = np.broadcast_arrays(*(each.cpu().numpy() for each in (articles, users, times)))
        article, user, until = asked[0], asked[1], asked[2] - self._delay
        own = self._own.before(article * self._users + user, until)
        own[user >= self._users] = 0  # who has seen nothing
        counts = self._all.before(article, until) - own
        return torch.from_numpy(counts.astype(np.float32)).to(articles.device)


class _Running(NamedTuple):
    """Running counts of events, in the order of their groups and times."""

    keys: NDArray[np.int64]  # group and time
    first: int  # time of the first event
    bits: int  # of a time after it
    clicks: NDArray[np.int64]  # before each event, and of all

    @classmethod
    def of(
        cls, group: NDArray[np.int64], time: NDArray[np.int64], clicked: NDArray[np.bool_]
    ) -> _Running:
        first = int(time.min())
        bits = int(time.max() - first + 1).bit_length()
        keys = group << bits | (time - first)
        order = np.argsort(keys, kind="stable")
        return cls(keys[order], first, bits, np.append(0, np.cumsum(clicked[order])))

    def before(self, group: NDArray[np.int64], time: NDArray[np.int64]) -> NDArray[np.int64]:
        """Clicks and events of each group before a time, ``[..., 2]``."""
        start = group << self.bits
        within = np.clip(time - self.first, 0, (1 << self.bits) - 1)
        begin, end = np.searchsorted(self.keys, start), np.searchsorted(self.keys, start | within)
        return np.stack([self.clicks[end] - self.clicks[begin], end - begin], axis=-1)
