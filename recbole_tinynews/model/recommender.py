"""The base of every news recommender: a news encoder, a user encoder, a dot product."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import InputType, ModelType
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.data.fields import CANDIDATES, HISTORY, IMPRESSION_SIZE
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.data.training_data import TrainingData
from recbole_tinynews.distillation.frozen_teachers import Teacher
from recbole_tinynews.encoder.bare_language_model import bare_plm
from recbole_tinynews.encoder.frozen_states import Storage
from recbole_tinynews.encoder.language_model import (
    load_plm,
    load_tokenizer,
    locate_plm,
    longest_text,
)
from recbole_tinynews.encoder.news_encoder import NewsEncoder
from recbole_tinynews.encoder.user_encoder import UserEncoder
from recbole_tinynews.files.columns import TITLE


class Scored(NamedTuple):
    """What a batch of training samples gives on the way to its loss.

    Shapes:
        scores: ``[batch, candidates]``, raw.
        candidates: ``[batch, candidates, news_dim]``.
        history: ``[batch, history, news_dim]``; zeros in empty slots.
        user: ``[batch, news_dim]``.
    """

    scores: Tensor
    candidates: Tensor
    history: Tensor
    user: Tensor


class NewsRecommender(AbstractRecommender):
    """Scores the candidates of an impression for the user who saw it.

    A subclass says what is learnt by ``losses``, which returns a NamedTuple of weighted summands
    (RecBole adds them up; their names stand in the log). To read other text, override
    ``news_tokens``; to model users in another way, ``make_user_encoder``. docs/extending.md has a
    whole one.

    Attributes:
        reads: the kind of data it is trained on.
        ranks_news: whether its artifact can be loaded to rank news.
        makes_teachers: whether its teachers train together with it, and are those that its
            ``make_teachers`` returns; else they are frozen.
    """

    reads: ClassVar[type[TrainingData]] = NewsDataset
    ranks_news: ClassVar[bool] = True
    makes_teachers: ClassVar[bool] = False
    type = ModelType.GENERAL  # RecBole lays no further yaml over ours for this type
    input_type = InputType.LISTWISE

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__()
        self.device = config["device"]
        self.label_field = config["LABEL_FIELD"]
        self.plm_source = locate_plm(config["plm"], [Path(config["data_path"])])
        self.news_encoder = self._make_news_encoder(config, dataset)
        self.user_encoder = self.make_user_encoder(config)

    # --------------------------------------------------------------------- what it is made of

    def news_tokens(self, config: Any, dataset: Any) -> Ragged:
        """Token ids that the news encoder reads for each news id: the title's."""
        return dataset.tokens(TITLE, self.tokenizer, config["max_title_length"])

    def text_widths(self, config: Any, dataset: Any) -> NDArray[np.int64]:
        """How long each text is with its padding, where pad tokens take part in pooling."""
        return np.full(dataset.num(dataset.iid_field), config["max_title_length"])

    def layers_kept(self, config: Any) -> int | None:
        """How many of the language model's first layers it has; ``None``: all."""
        return config["num_hidden_layers"]

    def make_user_encoder(self, config: Any) -> nn.Module:
        """``(history vectors [batch, history, dim], clicked [batch, history]) -> [batch, dim]``."""
        return UserEncoder(
            config["news_dim"],
            config["query_dim"],
            config["user_encoder"],
            config["history_padding"],
        )

    def storage(self, config: Any, dataset: Any) -> Storage | None:
        """Where the frozen layers' hidden states are kept; ``None``: computed each time."""
        if config["use_cache"] is False or dataset.cache_dir is None:
            return None
        return Storage(
            dataset.cache_dir,
            config["cache_precision"],
            config["cache_budget"],
            ample_room=config["use_cache"] == "auto",
        )

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Of its language model."""
        return load_tokenizer(self.plm_source)

    def text_table(self, config: Any, dataset: Any, plm: PreTrainedModel) -> Ragged:
        """What the news encoder reads for each news id: ``news_tokens``, padded if it is to be."""
        tokens = self.news_tokens(config, dataset)
        if not config["mask_padding_in_news_pooling"]:
            widths = self.text_widths(config, dataset)
            tokens = pad_rows(tokens, widths, plm.config.pad_token_id or 0)
        return tokens

    def _make_news_encoder(self, config: Any, dataset: Any) -> NewsEncoder:
        load = bare_plm if config["weights_follow"] else load_plm  # no user can set it
        plm = load(self.plm_source, self.layers_kept(config))
        tokens = self.text_table(config, dataset, plm)
        most = longest_text(plm)
        if tokens.lengths.max(initial=0) > most:
            raise ValueError(
                f"{type(self).__name__} expects texts of at most {most} tokens, which "
                f"{config['plm']} can read, got {tokens.lengths.max()}. "
                "Lower max_title_length or max_body_length."
            )
        return NewsEncoder(
            plm,
            tokens,
            config["news_dim"],
            config["query_dim"],
            pooling=config["news_pooling"],
            finetune_layers=config["finetune_layers"],
            dropout=config["plm_dropout"],
            mask_padding=config["mask_padding_in_news_pooling"],
            storage=self.storage(config, dataset),
            history_cache_steps=config["history_cache_steps"],
        )

    def as_teachers(self) -> list[Teacher]:
        """What it is to a student: one teacher, or several where it is made of several."""
        return [Teacher(self.news_encoder, self.user_encoder)]

    @property
    def parameter_count(self) -> int:
        """Parameters of what serves a user: news and user encoder, the unused pooler included."""
        served = (self.news_encoder, self.user_encoder)
        return sum(p.numel() for module in served for p in module.parameters())

    # ------------------------------------------------------------------------ what it computes

    def encode_news(self, news_ids: Tensor) -> Tensor:
        """News vectors, ``[*news_ids.shape, news_dim]``; zeros for padding."""
        return self.news_encoder(news_ids)

    def encode_user(self, history: Tensor, clicked: Tensor) -> Tensor:
        """User vectors ``[batch, news_dim]`` from the vectors of the clicked news."""
        return self.user_encoder(history, clicked)

    def score(self, interaction: Interaction) -> Scored:
        """Score a training batch: one row of candidates for each history."""
        history_ids, candidate_ids = interaction[HISTORY], interaction[CANDIDATES]
        width = history_ids.shape[1]
        # one call for both, so that a news in the history and among the candidates is encoded once
        with self.news_encoder.reusing_all_but(candidate_ids):
            vectors = self.encode_news(torch.cat([history_ids, candidate_ids], dim=1))
        history, candidates = vectors[:, :width], vectors[:, width:]
        user = self.encode_user(history, history_ids != 0)
        scores = (candidates @ user.unsqueeze(-1)).squeeze(-1)
        return Scored(scores, candidates, history, user)

    def calculate_loss(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """Score a training batch once, for all losses."""
        return self.losses(self.score(interaction), interaction)

    def losses(self, scored: Scored, interaction: Interaction) -> tuple[Tensor, ...]:
        """Weighted summands by name, each the mean over the batch.

        A subclass adds its own to its base's:
        ``summands({**super().losses(scored, interaction)._asdict(), "mine": ...})``.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must implement losses(scored, interaction)."
        )

    def predict(self, interaction: Interaction) -> Tensor:
        """Scores of every candidate of whole impressions, ``[sum of impression_size]``."""
        history_ids = interaction[HISTORY]
        users = self.encode_user(self.encode_news(history_ids), history_ids != 0)
        candidates = self.encode_news(interaction[CANDIDATES])
        return (candidates * users.repeat_interleave(interaction[IMPRESSION_SIZE], 0)).sum(-1)


def pad_rows(tokens: Ragged, widths: NDArray[np.int64], pad_token_id: int) -> Ragged:
    """Every text padded to its width, for pooling over pad tokens (docs/method.md, section 3).

    >>> pad_rows(Ragged.from_rows([[], [7], [8, 9]], int), np.array([2, 3, 2]), 0).values.tolist()
    [7, 0, 0, 8, 9]
    """
    lengths = np.where(tokens.lengths > 0, np.maximum(widths, tokens.lengths), 0)
    rows = np.repeat(np.arange(tokens.rows), lengths)
    starts = np.cumsum(lengths) - lengths
    filled = np.arange(len(rows)) - starts[rows] < tokens.lengths[rows]
    values = np.full(len(rows), pad_token_id, dtype=tokens.values.dtype)
    values[filled] = tokens.values
    return Ragged.from_lengths(values, lengths)
