"""LSTUR (An et al., ACL 2019): long-term interests by user id, short-term ones by a GRU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from recbole_tinynews.encoder.users import NoClicks, last_state
from recbole_tinynews.encoder.views import ViewConcatenation
from recbole_tinynews.files.columns import CATEGORIES
from recbole_tinynews.model.article_reader import starts_as, views_of
from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.model.reader_mixins import WithUserIds
from recbole_tinynews.settings.protocol import Settings


class LSTUR(WithUserIds, PLMNR):
    """A GRU over the clicks, combined with a vector of the user's id (``LongShortTermUser``).

    ``e = [e_t, e_v, e_sv]`` (section 3.1): the title by CNN and attention, as in NAML, beside
    vectors of topic and subtopic. ``news_dim`` sets the size of ``e_t``.
    """

    @classmethod
    def text_dim(cls, config: Settings) -> int:
        """Size of the vector of a title."""
        return config["news_dim"]

    @classmethod
    def news_dim(cls, config: Settings) -> int:
        """Total size of the views' vectors."""
        sizes = [
            config["category_dim"] if view in CATEGORIES else cls.text_dim(config)
            for view in views_of(config)
        ]
        return sum(sizes)

    @classmethod
    def conflicting_settings(cls, config: Settings, prefix: str) -> Iterator[str]:
        """Also require an even vector size for ``con``."""
        yield from super().conflicting_settings(config, prefix)
        if config["user_combination"] == "con" and cls.news_dim(config) % 2:
            yield (
                f"{prefix}user_combination=con expects news vectors of an even size in "
                f"{cls.__name__}, got {cls.news_dim(config)}: {prefix}news_dim, and "
                f"{prefix}category_dim for each category in views. Change one of them"
            )

    def make_composition(self, config: Settings, sizes: Mapping[str, int]) -> nn.Module:
        """Concatenate the views."""
        return ViewConcatenation(sizes, starts_as(config))

    def make_user_encoder(self, config: Settings) -> nn.Module:
        """The user's own vector and a GRU over the clicks."""
        own = LongShortTermUser(
            self.news_dim(config), self.user_count, config["user_combination"], config["user_mask"]
        )
        return self.started(config, own)


class LongShortTermUser(nn.Module):
    """Long-term interests from the user's id, short-term interests from a GRU over the clicks.

    Section 3.2. The short-term vector ``u_s`` is the GRU's last state. In training, the
    long-term vector ``u_l = M W_u[u]`` is masked as a whole, ``M ~ B(1, 1 - p)``, for each user of
    a batch; p is ``mask_probability``. ``ini`` initialises the GRU with ``u_l``; ``con``
    concatenates, ``u = [u_s; u_l]``, each half as wide as a news vector. User vectors start as
    zeros and stay so for unseen users. ``users`` is the number of ids, including padding.
    """

    def __init__(
        self,
        news_dim: int,
        users: int,
        combination: Literal["ini", "con"] = "ini",
        mask_probability: float = 0.5,
    ) -> None:
        super().__init__()
        self.combination, self.mask_probability = combination, mask_probability
        size = news_dim if combination == "ini" else news_dim // 2
        self.long_term = nn.Embedding(users, size, padding_idx=0)
        nn.init.zeros_(self.long_term.weight)
        self.short_term = nn.GRU(news_dim, size, batch_first=True)
        self.no_clicks = NoClicks(news_dim)

    def forward(self, history: Tensor, clicked: Tensor, users: Tensor) -> Tensor:
        """User vectors ``[batch, dim]``; ``users`` are ids ``[batch]``, 0 if unknown."""
        history, clicked = self.no_clicks.before(history, clicked)
        long_term = self.long_term(users).to(history.dtype)
        if self.training:
            kept = torch.rand(len(users), 1, device=users.device) >= self.mask_probability
            long_term = long_term * kept
        if self.combination == "ini":
            return last_state(self.short_term, history, clicked, first=long_term)
        return torch.cat([last_state(self.short_term, history, clicked), long_term], dim=-1)
