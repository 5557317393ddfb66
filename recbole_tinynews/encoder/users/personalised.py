"""NPA's user encoder (Wu et al., KDD 2019): attention with a query from the user's id."""

from __future__ import annotations

from torch import Tensor, nn

from recbole_tinynews.encoder.pooling import masked_softmax
from recbole_tinynews.encoder.users.no_clicks import NoClicks
from recbole_tinynews.encoder.words.context import words_of


class PersonalisedUser(nn.Module):
    """Attention over an article's words and a user's clicks; unknown users' vectors stay zero."""

    def __init__(self, news_dim: int, users: int, user_dim: int, query_dim: int) -> None:
        super().__init__()
        self.news_dim = news_dim
        self.users = nn.Embedding(users, user_dim, padding_idx=0)
        nn.init.zeros_(self.users.weight)
        self.word_attention = PersonalisedAttention(news_dim, user_dim, query_dim)
        self.news_attention = PersonalisedAttention(news_dim, user_dim, query_dim)
        self.no_clicks = NoClicks(news_dim)

    def read(self, articles: Tensor, users: Tensor) -> Tensor:
        """Vectors of ``PaddedWords``' articles for their user, ``[batch, articles, news_dim]``."""
        queries = self.word_attention.queries(self.users(users)).unsqueeze(1)
        return self.word_attention(*words_of(articles, self.news_dim), queries)

    def forward(self, history: Tensor, clicked: Tensor, users: Tensor) -> Tensor:
        """User vectors ``[batch, news_dim]`` from articles that have been ``read``."""
        queries = self.news_attention.queries(self.users(users))
        return self.no_clicks(self.news_attention(history, clicked, queries), clicked)


class PersonalisedAttention(nn.Module):
    """Attention pooling with a user-dependent query.

    Sections 3.1 (words) and 3.2 (news)::

        q = ReLU(V e_u + v)     alpha_i = softmax_i(x_i . tanh(W q + b))     sum_i alpha_i x_i
    """

    def __init__(self, dim: int, user_dim: int, query_dim: int) -> None:
        super().__init__()
        self.preference = nn.Linear(user_dim, query_dim)
        self.projection = nn.Linear(query_dim, dim)

    def queries(self, users: Tensor) -> Tensor:
        """Queries of users, ``[..., user_dim]`` -> ``[..., dim]``."""
        return self.projection(self.preference(users).relu()).tanh()

    def forward(self, inputs: Tensor, mask: Tensor, queries: Tensor) -> Tensor:
        """Pool ``[..., length, dim]`` by ``queries [..., dim]``; zeros where all is masked."""
        energy = (inputs @ queries.to(inputs.dtype).unsqueeze(-1)).squeeze(-1)
        return (masked_softmax(energy, mask).unsqueeze(-2) @ inputs).squeeze(-2)
