"""NPA (Wu et al., KDD 2019): word and click attention personalised by the user's id."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from recbole_tinynews.distillation.outputs import Encoded, Outputs
from recbole_tinynews.files.columns import TITLE
from recbole_tinynews.model.article_reader import longest_news_text
from recbole_tinynews.model.candidate_aware import CandidateAware
from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.model.student import Student
from recbole_tinynews.model.text_encoders import plm_training, reads_words, views_of
from recbole_tinynews.model.user_ids import WithUserIds
from recbole_tinynews.settings.protocol import Settings
from recbole_tinynews.zoo.npa_parts import PaddedWords, PersonalisedUser, TokenEncoder

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
        assert news.ids is not None
        (users,) = news.ids.of_readers
        candidates = self.user_encoder.read(news.candidates, users)
        history = self.user_encoder.read(news.history, users)
        return super().match(news._replace(candidates=candidates, history=history))

    def article_vectors(self, news_ids: Tensor) -> Tensor:
        """Articles as a reader unseen in training reads them."""
        unseen = torch.zeros(1, dtype=torch.long, device=news_ids.device)
        return self.user_encoder.read(self.encode_news(news_ids).unsqueeze(0), unseen).squeeze(0)
