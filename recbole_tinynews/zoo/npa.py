"""NPA (Wu et al., KDD 2019): word and click attention personalised by the user's id."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from recbole_tinynews.encoder.packing import PackedTexts
from recbole_tinynews.encoder.pooling import masked_softmax
from recbole_tinynews.encoder.users import NoClicks
from recbole_tinynews.files.columns import TITLE
from recbole_tinynews.model.article_reader import longest_news_text
from recbole_tinynews.model.interface import Encoded, Outputs
from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.model.reader_mixins import CandidateAware, WithUserIds
from recbole_tinynews.model.student import Student
from recbole_tinynews.settings.protocol import Settings


class NPA(WithUserIds, CandidateAware, PLMNR):
    """Attention over words and clicks, with queries from the user's id (``PersonalisedAttention``).

    An article's vector depends on its reader, so the news encoder returns words in context
    (``PaddedWords``), and ``match`` attends to them; tables are larger.
    """

    least: ClassVar[Mapping[str, float]] = {"user_dim": 1}
    fixed: ClassVar[Mapping[str, Any]] = {  # users attend to the words of titles
        **{"news_encoder": "words", "head_init": "random", "views": [TITLE]}
    }
    user_encoder: PersonalisedUser

    @classmethod
    def conflicting_settings(cls, config: Settings, prefix: str) -> Iterator[str]:
        """Also refuse Stage I."""
        yield from super().conflicting_settings(config, prefix)
        if issubclass(cls, Student) and config["stage_one"]:
            yield (
                f"stage_one expects False in {cls.__name__}: its articles have a vector only for a "
                "reader, and Stage I knows none. Set stage_one=False"
            )

    def make_word_pooling(self, config: Settings, dim: int) -> nn.Module:
        """All word vectors of a title."""
        return PaddedWords(dim, longest_news_text(config))

    def make_user_encoder(self, config: Settings) -> PersonalisedUser:
        """Personalised attention over words and over clicks."""
        return PersonalisedUser(
            self.news_dim(config), self.user_count, config["user_dim"], config["query_dim"]
        )

    def match(self, news: Encoded) -> Outputs:
        """Articles as each user reads them, user vectors, and their dot products."""
        assert news.context is not None
        (users,) = news.context.of_readers
        return super().match(news._replace(all=self.user_encoder.read(news.all, users)))

    def article_vectors(self, news_ids: Tensor) -> Tensor:
        """Articles as a reader unseen in training reads them."""
        unseen = torch.zeros(1, dtype=torch.long, device=news_ids.device)
        return self.user_encoder.read(self.encode_news(news_ids).unsqueeze(0), unseen).squeeze(0)


class PaddedWords(nn.Module):
    """Concatenates the words of a text, each with a flag that is 0 for pad tokens."""

    def __init__(self, word_dim: int, length: int) -> None:
        super().__init__()
        self.word_dim, self.length = word_dim, length
        self.dim = length * (word_dim + 1)

    def forward(self, hidden: Tensor, texts: PackedTexts) -> Tensor:
        """``[tokens, word_dim]`` -> ``[texts, dim]``."""
        real = hidden.new_ones(len(hidden)) if texts.real is None else texts.real.to(hidden)
        marked = torch.cat([hidden, real[:, None]], dim=1)
        count = len(texts.starts) - 1
        text = torch.repeat_interleave(texts.starts.diff().long(), output_size=len(hidden))
        padded = marked.new_zeros(count * self.length, self.word_dim + 1)
        return padded.index_copy(0, text * self.length + texts.positions, marked).view(count, -1)


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
        words = articles.unflatten(-1, (-1, self.news_dim + 1))  # the last number is the flag
        return self.word_attention(words[..., :-1], words[..., -1] > 0, queries)

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
