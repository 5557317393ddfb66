"""NPA's users: what an article is to one of them, and what their clicks say."""

from __future__ import annotations

from torch import Tensor, nn

from recbole_tinynews.encoder.personalised_attention import PersonalisedAttention
from recbole_tinynews.encoder.users.no_clicks import NoClicks
from recbole_tinynews.encoder.words.padded import words_of


class PersonalisedUser(nn.Module):
    """Personalised attention over the words of an article and over the clicks of a user.

    Wu et al., KDD 2019. Vectors of users start as zeros, and that of an unknown one stays there.

    Args:
        news_dim: size of a word's state, and so of a news vector.
        users: number of user ids, that of padding included.
        user_dim: size of a user's vector.
        query_dim: size of a preference query.
    """

    def __init__(self, news_dim: int, users: int, user_dim: int, query_dim: int) -> None:
        super().__init__()
        self.news_dim = news_dim
        self.users = nn.Embedding(users, user_dim, padding_idx=0)
        nn.init.zeros_(self.users.weight)
        self.word_attention = PersonalisedAttention(news_dim, user_dim, query_dim)
        self.news_attention = PersonalisedAttention(news_dim, user_dim, query_dim)
        self.no_clicks = NoClicks(news_dim)

    def read(self, articles: Tensor, users: Tensor) -> Tensor:
        """Articles as their user reads them, ``[batch, articles, news_dim]``.

        Shapes:
            articles: ``[batch, articles, length * (news_dim + 1)]``, by ``PaddedWords``.
            users: ``[batch]``, ids; 0 is an unknown user.
        """
        queries = self.word_attention.queries(self.users(users)).unsqueeze(1)
        return self.word_attention(*words_of(articles, self.news_dim), queries)

    def forward(self, history: Tensor, clicked: Tensor, users: Tensor) -> Tensor:
        """User vectors, ``[batch, news_dim]``, of articles that have been ``read``.

        Shapes:
            history: ``[batch, history, news_dim]``.
            clicked: ``[batch, history]``, True where the slot holds a click.
            users: ``[batch]``, ids.
        """
        queries = self.news_attention.queries(self.users(users))
        return self.no_clicks(self.news_attention(history, clicked, queries), clicked)
