"""PP-Rec (Qi et al., ACL 2021): a user's interests and the popularity of news at the moment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, ClassVar

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tinynews.data.fields import HISTORY
from recbole_tinynews.distillation.loss_terms import loss_terms
from recbole_tinynews.distillation.outputs import Outputs
from recbole_tinynews.encoder.self_attention import HEAD_DIM
from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.model.time_features import TimeFeatures
from recbole_tinynews.settings.protocol import Settings
from recbole_tinynews.zoo.pprec_parts import CountsSoFar, PopularityAwareUser

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

    user_head_dim = HEAD_DIM
    least: ClassVar[Mapping[str, float]] = {"popularity_dim": 1}
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

    @classmethod
    def conflicting_settings(cls, config: Settings, prefix: str) -> Iterator[str]:
        """Also require that no other term of popularity is added."""
        yield from super().conflicting_settings(config, prefix)
        if config["popularity"] != "added":
            yield (
                f"{prefix}popularity expects added in {cls.__name__}, which has a gate of its own, "
                f"got {config['popularity']}. Leave {prefix}popularity out"
            )

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
        return self._rate(clicks, exposures).masked_fill(exposures == 0, -1)

    def _rate(self, clicks: Tensor, exposures: Tensor) -> Tensor:
        return self.features.rate(clicks, exposures) * self.features.click_rate

    def popularity(self, news: Tensor, counters: Tensor) -> Tensor:
        """``s_p``, ``[...]``, of news ``[..., dim]`` and counters ``[..., 1 + 2 windows]``."""
        recency = self.recency(counters[..., 0].long().clamp(0, HOURS - 1)).to(news.dtype)
        share = self.content_share(torch.cat([news, recency], dim=-1)).sigmoid()
        predicted = share * self.of_content(news) + (1 - share) * self.of_recency(recency)
        now = self._rate(counters[..., 1], counters[..., 1 + self.features.windows])
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
