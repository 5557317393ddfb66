"""LSTUR (An et al., ACL 2019): long-term interests by user id, short-term ones by a GRU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import nn

from recbole_tinynews.encoder.users.long_short_term import LongShortTermUser
from recbole_tinynews.encoder.views import ViewConcatenation
from recbole_tinynews.files.columns import CATEGORIES
from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.model.text_encoders import starts_as, views_of
from recbole_tinynews.model.user_ids import WithUserIds
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
