"""Domain-specific post-training: a body finds its own title (Tiny-NewsRec, EMNLP 2022).

A body takes the place of the history and of the user, and titles are the candidates. So the news
encoder, the losses, the trainer and the metrics of recommendation are used unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.data.title_body import TitleBodyDataset
from recbole_tinynews.distillation.tinynewsrec import StageOneDistillation
from recbole_tinynews.encoder.frozen_states import Storage
from recbole_tinynews.encoder.news_encoder import NewsEncoder
from recbole_tinynews.encoder.pretrained_heads import SCORE_SCALE
from recbole_tinynews.model.multi_teacher_student import MultiTeacherStudent
from recbole_tinynews.model.plmnr import PLMNR
from recbole_tinynews.settings.protocol import Settings


class BodyAsUser(nn.Module):
    """The user encoder of post-training: the vector of the body.

    Args:
        scaled: whether it is multiplied by a scale that trains, as vectors of unit length need.
    """

    def __init__(self, scaled: bool) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(SCORE_SCALE)) if scaled else None

    def forward(self, history: Tensor, clicked: Tensor) -> Tensor:
        """``[batch, 1, dim]`` -> ``[batch, dim]``."""
        body = history[:, 0]
        return body if self.scale is None else body * self.scale


class TitleBodyMatcher(PLMNR):
    """``L_DP``: cross entropy of a body's own title among 1 + ``negatives`` titles."""

    news_encoder: NewsEncoder
    reads = TitleBodyDataset
    ranks_news: ClassVar[bool] = False
    needs_language_model: ClassVar[bool] = True

    @classmethod
    def contradictions(cls, config: Settings, prefix: str) -> Iterator[str]:
        """Mistakes of the base class, and negative titles that corpus or batch cannot provide."""
        yield from super().contradictions(config, prefix)
        kind, corpus = config["negative_titles"], config["post_train_corpus"]
        if kind == "category" and corpus:
            yield (
                f"{prefix}negative_titles=category expects articles with a category, and {corpus} "
                "(post_train_corpus) has none. Set negative_titles to random, in_batch or hard, or "
                "post_train_corpus=~ to post-train on the data set's own news"
            )
        if kind == "in_batch" and config["train_batch_size"] == 1:
            yield (
                f"{prefix}negative_titles=in_batch expects a {prefix}train_batch_size of at least "
                "2, got 1: an article has no other one in its batch"
            )

    def news_tokens(self, config: Settings, dataset: Any) -> Ragged:
        """Titles and bodies in one table."""
        return dataset.text_tokens

    def text_widths(self, config: Settings, dataset: Any) -> NDArray[np.int64]:
        """Titles and bodies are padded apart."""
        is_title = np.arange(dataset.text_tokens.rows) <= dataset.articles
        return np.where(is_title, config["max_title_length"], config["max_body_length"])

    def make_user_encoder(self, config: Settings) -> nn.Module:
        """A body's vector is the user's; no user encoder trains before clicks are seen."""
        return BodyAsUser(scaled=config["head_init"] == "pretrained")

    def storage(self, config: Settings, dataset: Any) -> Storage | None:
        """Stores titles, which are read 1 + ``negatives`` times a pass; bodies only on request.

        A body is long and is read once a pass: its states cost more than they save in a short
        post-training. ``use_cache: true`` stores as many of them as the budget holds.
        """
        storage = super().storage(config, dataset)
        if storage is None or config["use_cache"] is True:
            return storage
        return storage._replace(longest=config["max_title_length"])

    @torch.no_grad()
    def present_scores(self, interaction: Interaction) -> Tensor:
        """Scores of a training batch by the current weights, without gradient or dropout.

        Shapes:
            returned: ``[batch, candidates]``.
        """
        with self.news_encoder.without_dropout():
            return self.score(interaction).scores


class TitleBodyStudent(MultiTeacherStudent, TitleBodyMatcher):
    """The student in Stage I, under post-trained teachers: ``L_DP_distill + L_DP_emb + L_DP``.

    Its projections are not carried over to Stage II; its news encoder is.
    """

    losses_of_stage = StageOneDistillation
    teacher_stage = "post_train_teacher"
