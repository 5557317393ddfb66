"""NPA: the user decides which words of a title, and which clicks, count.

Wu et al., "NPA: Neural News Recommendation with Personalized Attention", KDD 2019.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from torch import nn

from recbole_tinynews.distillation.outputs import Encoded, Outputs
from recbole_tinynews.encoder.users.personalised import PersonalisedUser
from recbole_tinynews.encoder.words.padded import PaddedWords
from recbole_tinynews.files.columns import TITLE
from recbole_tinynews.model.plmnr import PLMNR
from recbole_tinynews.model.recommender import longest_news_text
from recbole_tinynews.model.text_encoders import reads_words, starts_pretrained, views_of
from recbole_tinynews.settings.protocol import Settings


class NPA(PLMNR):
    """CNN over words; attention with queries made of the user's id over words and over clicks.

    ``PersonalisedAttention`` has the equations. The vector of an article depends on who reads it,
    so the news encoder gives the words of a title in their context, ``PaddedWords``, and
    attention follows in ``match``. Its table of vectors at evaluation is larger than others' by the
    number of words in a title.
    """

    two_towers: ClassVar[bool] = False
    reads_user_ids: ClassVar[bool] = True
    reads_for_users: ClassVar[bool] = True
    user_encoder: PersonalisedUser

    @classmethod
    def contradictions(cls, config: Settings, prefix: str) -> Iterator[str]:
        """Mistakes of the base class, a language model, and more than the words of a title."""
        yield from super().contradictions(config, prefix)
        if not reads_words(config):
            yield (
                f"{prefix}news_encoder expects words in {cls.__name__}, whose users attend to "
                f"words, got {config['news_encoder']}. Set {prefix}news_encoder=words"
            )
        if starts_pretrained(config):
            yield (
                f"{prefix}head_init expects random in {cls.__name__}, which has no vector of a "
                f"title before it knows its user. Leave {prefix}head_init out"
            )
        if views_of(config) != [TITLE]:
            yield (
                f"{prefix}views expects [title] in {cls.__name__}, whose users attend to the words "
                f"of titles, got {views_of(config)}. Leave {prefix}views out"
            )

    def make_word_pooling(self, config: Settings, dim: int) -> nn.Module:
        """All words of a title side by side."""
        return PaddedWords(dim, longest_news_text(config))

    def make_user_encoder(self, config: Settings) -> PersonalisedUser:
        """Personalised attention over words and over clicks."""
        return PersonalisedUser(
            self.news_dim(config), self.user_count, config["user_dim"], config["query_dim"]
        )

    def match(self, news: Encoded) -> Outputs:
        """Articles as each user reads them, users, and their dot products as scores."""
        assert news.ids is not None
        users = news.ids.users
        assert users is not None
        candidates = self.user_encoder.read(news.candidates, users)
        history = self.user_encoder.read(news.history, users)
        user = self.user_encoder(history, news.clicked, users)
        scores = (candidates @ user.unsqueeze(-1)).squeeze(-1)
        return Outputs(scores, candidates, history, user, news.states)
