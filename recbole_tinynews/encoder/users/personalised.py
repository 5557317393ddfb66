"""NPA's users: attention with a query made of the user's id, over words and over clicks."""

from __future__ import annotations

from torch import Tensor, nn

from recbole_tinynews.encoder.pooling import masked_softmax
from recbole_tinynews.encoder.users.no_clicks import NoClicks
from recbole_tinynews.encoder.words.padded import words_of


class PersonalisedUser(nn.Module):
    """Personalised attention over the words of an article and over the clicks of a user.

    Wu et al., KDD 2019. Vectors of users start as zeros; that of unknown users stays zero.

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
        """Vectors of articles for their user, ``[batch, articles, news_dim]``.

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


class PersonalisedAttention(nn.Module):
    """Attention pooling whose query depends on the user.

    Wu et al., "NPA: Neural News Recommendation with Personalized Attention", KDD 2019, sections 3.1
    (words) and 3.2 (news)::

        q = ReLU(V e_u + v)     alpha_i = softmax_i(x_i . tanh(W q + b))     sum_i alpha_i x_i

    Args:
        dim: size of an input.
        user_dim: size of a user's vector ``e_u``.
        query_dim: size of the preference query q.
    """

    def __init__(self, dim: int, user_dim: int, query_dim: int) -> None:
        super().__init__()
        self.preference = nn.Linear(user_dim, query_dim)
        self.projection = nn.Linear(query_dim, dim)

    def queries(self, users: Tensor) -> Tensor:
        """The queries of users, ``[..., user_dim]`` -> ``[..., dim]``."""
        return self.projection(self.preference(users).relu()).tanh()

    def forward(self, inputs: Tensor, mask: Tensor, queries: Tensor) -> Tensor:
        """Pooled inputs, ``[..., dim]``; zeros where no input takes part.

        Shapes:
            inputs: ``[..., length, dim]``.
            mask: ``[..., length]``, True where an input takes part.
            queries: ``[..., dim]``, of the user of each row.
        """
        energy = (inputs @ queries.to(inputs.dtype).unsqueeze(-1)).squeeze(-1)
        return (masked_softmax(energy, mask).unsqueeze(-2) @ inputs).squeeze(-2)
