"""NPA (Wu et al., KDD 2019): word and click attention personalised by the user's id."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from recbole_tinynews.encoder.packing import PackedTexts
from recbole_tinynews.encoder.pooling import masked_softmax
from recbole_tinynews.encoder.text_encoder import EncodedTexts, TextEncoder
from recbole_tinynews.encoder.users import NoClicks
from recbole_tinynews.files.columns import TITLE
from recbole_tinynews.model.article_reader import (
    longest_news_text,
    plm_training,
    reads_words,
    views_of,
)
from recbole_tinynews.model.interface import Encoded, Outputs
from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.model.reader_mixins import CandidateAware, WithUserIds
from recbole_tinynews.model.student import Student
from recbole_tinynews.settings.protocol import Settings

# Fixed by its yaml: users attend to words; post-training, without users, pools by the mean
HEADS = {"head_init": "random", "news_pooling": "mean", "mask_padding_in_news_pooling": True}


class NPA(WithUserIds, CandidateAware, PLMNR):
    """Attention over words and clicks, with queries from the user's id (``PersonalisedAttention``).

    An article's vector depends on its reader, so the news encoder returns words in context
    (``PaddedWords``, ``TokenEncoder``), and ``match`` attends to them; tables are larger.
    """

    least: ClassVar[Mapping[str, float]] = {"user_dim": 1}
    user_encoder: PersonalisedUser

    @classmethod
    def conflicting_settings(cls, config: Settings, prefix: str) -> Iterator[str]:
        """Also require its fixed heads, and titles as the only view."""
        yield from super().conflicting_settings(config, prefix)
        for name, expected in HEADS.items():
            read = name == "head_init" or not reads_words(config)
            if read and config[name] != expected:
                yield (
                    f"{prefix}{name} expects {expected} in {cls.__name__}, whose users attend to "
                    f"words, not to pooled titles, got {config[name]}. Leave {prefix}{name} out"
                )
        if views_of(config) != [TITLE]:
            yield (
                f"{prefix}views expects [title] in {cls.__name__}, whose users attend to the words "
                f"of titles, got {views_of(config)}. Leave {prefix}views out"
            )
        if issubclass(cls, Student) and config["stage_one"]:
            yield (
                f"stage_one expects False in {cls.__name__}: its articles have a vector only for a "
                "reader, and Stage I knows none. Set stage_one=False"
            )

    def make_text_encoder(self, config: Settings, plm: PreTrainedModel) -> TokenEncoder:
        """All token vectors of a title."""
        length, training = longest_news_text(config), plm_training(config)
        return TokenEncoder(plm, self.text_dim(config), config["query_dim"], length, **training)

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


class TokenEncoder(TextEncoder):
    """A language model and a dense layer; a text is its tokens' vectors (``PaddedWords``).

    Attention over them with weights ``a`` equals a ``TextEncoder`` that pools with ``a``:
    ``W sum_j a_j h_j + b = sum_j a_j (W h_j + b)``. The pooled text is the mean hidden state.
    """

    def __init__(
        self, plm: PreTrainedModel, news_dim: int, query_dim: int, length: int, **settings: Any
    ) -> None:
        super().__init__(plm, news_dim, query_dim, pooling="mean", **settings)
        self.padded = PaddedWords(news_dim, length)

    def is_bag(self, texts: PackedTexts) -> bool:
        """Never: a text is all of its tokens."""
        return False

    def encodings(self, hidden: Tensor, texts: PackedTexts, layers: int) -> EncodedTexts:
        """All tokens of each text, and the mean of their hidden states."""
        tokens = self.dense(hidden)
        return EncodedTexts(self.pool(hidden, texts, self.pooling), self.padded(tokens, texts))

    def zeros(self, texts: int) -> Tensor:
        """Vectors of empty texts, ``[texts, length * (news_dim + 1)]``."""
        return self.dense.weight.new_zeros(texts, self.padded.dim)

    def content(self) -> Iterator[str | bytes]:
        """All weights by name, and the number of tokens."""
        yield from super().content()
        yield f"{self.padded.length} tokens"


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
