"""PP-Rec (Qi et al., ACL 2021): a user's interests and the popularity of news at the moment."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from recbole.data.interaction import Interaction
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tinynews.data.fields import HISTORY
from recbole_tinynews.data.impressions import Impressions
from recbole_tinynews.distillation.loss_terms import loss_terms
from recbole_tinynews.encoder.pooling import AttentionPooling, SelfAttention
from recbole_tinynews.encoder.users import NoClicks
from recbole_tinynews.model.interface import Outputs
from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.model.time_features import TimeFeatures
from recbole_tinynews.settings.protocol import Settings

HOURS = 1500  # of age, each with a vector of its own; older articles share the last one


class PPRec(PLMNR):
    """Interest ``s_m = u . n`` and popularity ``s_p`` (``NewsPopularity``), gated by the user.

    Sections 3.5 and 3.6: ``s = (1 - eta) s_m + eta s_p``, ``eta = sigmoid(dense(u))``, and the BPR
    loss ``-log sigmoid(s_click - s_negative)``, the mean over pairs. ``PopularityAwareUser`` has
    section 3.4. Without the log, as in use, it ranks by ``s_m``. Deviations: no entities; one news
    encoder; click rates are causal counters of other users, smoothed (docs/method.md, section 13),
    those of clicked articles over the log up to the impression, since data sets lack the times of
    clicks.
    """

    least: ClassVar[Mapping[str, float]] = {"popularity_dim": 1}
    fixed: ClassVar[Mapping[str, Any]] = {"popularity": "added"}  # with a gate of its own
    time: NewsPopularity

    def __init__(self, config: Settings, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.time_field: str = config["TIME_FIELD"]
        log, self.clicks = getattr(dataset, "log", None), None
        if log is None:
            self.counting = None
        else:
            training = dataset.file_size_list[0]
            counted = log.rows if config["popularity_from"] == "stream" else training
            self.clicks = CountsSoFar(log.between(0, counted), config["popularity_delay"])

    def make_user_encoder(self, config: Settings) -> nn.Module:
        """Self-attention among the clicks, then attention by content and popularity."""
        sizes = self.news_dim(config), config["query_dim"], config["popularity_dim"]
        return self.started(config, PopularityAwareUser(*sizes))

    def make_time_score(self, config: Settings) -> NewsPopularity:
        """The popularity of candidates, and the gate of users."""
        windows = len(config["popularity_windows"])
        return NewsPopularity(self.news_dim(config), config["popularity_dim"], windows)

    @property
    def parameter_count(self) -> int:
        """Parameters of news encoder, user encoder and popularity."""
        return super().parameter_count + sum(p.numel() for p in self.time.parameters())

    def of_readers(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """Click rates of the clicked articles, ``[batch, history]``, where times are known."""
        if self.clicks is None or self.time_field not in interaction.interaction:
            return ()
        who, when = interaction[self.user_field], interaction[self.time_field]
        counters = self.clicks.at(interaction[HISTORY], who.unsqueeze(1), when.unsqueeze(1))
        return (self.time.rates_of_clicks(counters),)

    def losses(self, outputs: Outputs, interaction: Interaction) -> tuple[Tensor, ...]:
        """Mean BPR loss over pairs of the clicked article, which is first, and a negative."""
        margins = outputs.scores[:, :1] - outputs.scores[:, 1:]
        return loss_terms({"target": F.softplus(-margins).mean()})


class NewsPopularity(nn.Module):
    """Time-aware popularity of candidates, and the gate between it and interest.

    Section 3.3, with news vector n, vector r of the hours of age, and click rate c_t of the first
    of ``popularity_windows``::

        theta = sigmoid(dense([n; r]))       p = theta dense(n) + (1 - theta) dense(r)
        s_p = w_c c_t + w_p p

    Hidden sizes and the start of ``w_c`` are those of the authors' code.
    """

    def __init__(self, news_dim: int, popularity_dim: int, windows: int) -> None:
        super().__init__()
        self.features = TimeFeatures(windows, limited=0)
        self.recency = nn.Embedding(HOURS, popularity_dim)
        nn.init.uniform_(self.recency.weight, -0.05, 0.05)
        self.of_content = _dense(news_dim, 256, 256, 128, 1)
        self.of_recency = _dense(popularity_dim, 64, 64, 1)
        self.content_share = _dense(news_dim + popularity_dim, 128, 64, 1)
        self.rate_weight = nn.Parameter(torch.tensor(19.0))
        self.predicted_weight = nn.Parameter(torch.tensor(1.0))
        self.gate = _dense(news_dim, 64, 1)

    def start(self, text: Tensor, counters: Tensor, labels: Tensor, offsets: Tensor) -> None:
        """Set the click rate of training, towards which click rates are smoothed."""
        self.features.fit(counters, labels)

    def rates_of_clicks(self, counters: Tensor) -> Tensor:
        """Smoothed click rates from clicks and exposures ``[..., 2]``; -1 if never exposed."""
        clicks, exposures = counters.unbind(-1)
        return self.features.rate(clicks, exposures).masked_fill(exposures == 0, -1)

    def popularity(self, news: Tensor, counters: Tensor) -> Tensor:
        """``s_p``, ``[...]``, of news ``[..., dim]`` and counters ``[..., 1 + 2 windows]``."""
        recency = self.recency(counters[..., 0].long().clamp(0, HOURS - 1)).to(news.dtype)
        share = self.content_share(torch.cat([news, recency], dim=-1)).sigmoid()
        predicted = share * self.of_content(news) + (1 - share) * self.of_recency(recency)
        now = self.features.rate(counters[..., 1], counters[..., 1 + self.features.windows])
        return self.rate_weight * now + self.predicted_weight * predicted.squeeze(-1)

    def forward(self, text: Tensor, counters: Tensor, user: Tensor, news: Tensor) -> Tensor:
        """Scores, of the shape of ``text``; arguments as for ``TimeScore`` and ``popularity``."""
        share = self.gate(user).sigmoid()  # [..., 1]
        share = share if text.dim() == 2 else share.squeeze(-1)
        return (1 - share) * text + share * self.popularity(news, counters)


def _dense(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for size, following in pairwise(sizes):
        layers += [nn.Linear(size, following), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


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
