"""An ensemble of finetuned teachers, a baseline of Tiny-NewsRec (EMNLP 2022)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.encoder.hidden_states import Storage
from recbole_tinynews.encoder.news_encoder import NewsEncoder
from recbole_tinynews.model.article_reader import ReadsTitlesByPLM
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.settings.protocol import Settings


class NewsEncoders(NewsEncoder):
    """Several news encoders whose vectors are concatenated: ``[..., teachers * news_dim]``."""

    def __init__(self, encoders: Sequence[NewsEncoder]) -> None:
        super().__init__(encoders[0].tokens)  # they share a tokenizer
        self.encoders: Any = nn.ModuleList(encoders)

    def put_articles(
        self, articles: Mapping[str, Ragged | Tensor], storage: Storage | None = None
    ) -> None:
        """Take the articles of a data set, for each encoder."""
        super().put_articles(articles)
        for encoder in self.encoders:
            encoder.put_articles(articles, storage)

    def encode_distinct(self, ids: NDArray[np.int64]) -> Tensor:
        """Vectors of distinct ids, ``[ids, teachers * news_dim]``."""
        return torch.cat([encoder.encode_distinct(ids) for encoder in self.encoders], dim=-1)

    def encode_texts(self, columns: Mapping[str, Sequence[str]]) -> Tensor:
        """Vectors of given articles, ``[articles, teachers * news_dim]``."""
        return torch.cat([encoder.encode_texts(columns) for encoder in self.encoders], dim=-1)


class UserEncoders(nn.Module):
    """Several user encoders whose vectors are concatenated and divided by their number."""

    def __init__(self, encoders: Iterable[nn.Module]) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(encoders)

    def forward(self, history: Tensor, clicked: Tensor) -> Tensor:
        """``[batch, history, teachers * news_dim]`` -> ``[batch, teachers * news_dim]``."""
        parts = history.chunk(len(self.encoders), dim=-1)
        users = [encoder(part, clicked) for encoder, part in zip(self.encoders, parts, strict=True)]
        return torch.cat(users, dim=-1) / len(users)


class EnsembleTeacher(ReadsTitlesByPLM, NewsRecommender):
    """Mean of the raw scores of finetuned teachers (our definition); nothing is trained.

    Vectors are concatenated and the user's divided by the number of teachers. Size and encoding
    time are those of all teachers together.
    """

    trainer_class = "EnsembleTeacherTrainer"

    def __init__(self, config: Settings, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.requires_grad_(False)

    @classmethod
    def layers_saved(cls, config: Settings) -> int | None:
        """All: its teachers may have more layers than its own settings say."""
        return None

    def read_articles(self, config: Settings, dataset: Any) -> None:
        """Read texts as its teachers do."""
        super().read_articles(config.for_stage("finetune_teacher"), dataset)

    def make_news_encoder(self, config: Settings) -> NewsEncoder:
        """One encoder per teacher, concatenated."""
        make, teacher = super().make_news_encoder, config.for_stage("finetune_teacher")
        return NewsEncoders([make(teacher) for _ in range(config["num_teachers"])])

    def make_user_encoder(self, config: Settings) -> nn.Module:
        """One encoder per teacher, concatenated."""
        make, teacher = super().make_user_encoder, config.for_stage("finetune_teacher")
        return UserEncoders(make(teacher) for _ in range(config["num_teachers"]))
