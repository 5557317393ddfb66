"""Domain-specific post-training: a body, as user, finds its title (Tiny-NewsRec, EMNLP 2022)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.data.title_body_articles import TitleBodyDataset
from recbole_tinynews.distillation.tinynewsrec_losses import StageOneDistillation
from recbole_tinynews.encoder.hidden_states import Storage
from recbole_tinynews.encoder.one_text import OneTextEncoder, pad_rows
from recbole_tinynews.encoder.users import SCORE_SCALE
from recbole_tinynews.model.article_reader import (
    ReadsTitlesByPLM,
    pads_texts,
    reads_words,
    starts_pretrained,
)
from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.model.student import MultiTeacherStudent
from recbole_tinynews.settings.protocol import Settings

# Settings that Stage II must share to take over Stage I's news encoder (a language model's show in
# names and shapes of weights)
READING = ("news_encoder", "views")
READING_WORDS = (
    "news_text",
    "head_init",
    "word_encoder",
    "word_dim",
    "news_dim",
    "query_dim",
)
ARTICLES = ("post_train_corpus", "post_train_news")


class BodyAsUser(nn.Module):
    """The user encoder of post-training: the body's vector, times a trained scale if ``scaled``."""

    def __init__(self, scaled: bool) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(SCORE_SCALE)) if scaled else None

    def forward(self, history: Tensor, clicked: Tensor) -> Tensor:
        """``[batch, 1, dim]`` -> ``[batch, dim]``."""
        body = history[:, 0]
        return body if self.scale is None else body * self.scale


class TitleBodyModel(PLMNR):
    """``L_DP``: cross entropy of a body's own title among 1 + ``negatives`` titles."""

    news_encoder: OneTextEncoder
    reads = TitleBodyDataset
    ranks_news = False

    @classmethod
    def conflicting_settings(cls, config: Settings, prefix: str) -> Iterator[str]:
        """Also require that a batch can provide the negative titles."""
        yield from super().conflicting_settings(config, prefix)
        if config["negative_titles"] == "in_batch" and config["train_batch_size"] == 1:
            yield (
                f"{prefix}negative_titles=in_batch expects a {prefix}train_batch_size of at least "
                "2, got 1: an article would be alone in its batch"
            )

    def word_tokenizer(self, config: Settings, dataset: Any) -> PreTrainedTokenizerBase:
        """Tokenizer of titles and bodies."""
        return dataset.tokenizer

    def text_tokens(self, config: Settings, dataset: Any, view: str) -> Ragged:
        """Titles and bodies in one table, which are padded to separate lengths."""
        tokens: Ragged = dataset.text_tokens
        if not pads_texts(config):
            return tokens
        is_title = np.arange(tokens.rows) <= dataset.articles
        widths = np.where(is_title, config["max_title_length"], config["max_body_length"])
        return pad_rows(tokens, widths, self._pad_token_id)

    def make_user_encoder(self, config: Settings) -> nn.Module:
        """The body's vector stands for the user."""
        return BodyAsUser(scaled=starts_pretrained(config))

    def storage(self, config: Settings, dataset: Any) -> Storage | None:
        """Store titles; long bodies, read once an epoch, only under ``use_cache: true``."""
        storage = super().storage(config, dataset)
        if storage is None or config["use_cache"] is True:
            return storage
        return storage._replace(longest=config["max_title_length"])


class TitleBodyMatcher(ReadsTitlesByPLM, TitleBodyModel):
    """The teacher of Tiny-NewsRec in post-training."""

    trainer_class = "PostTrainingTrainer"


class TitleBodyStudent(MultiTeacherStudent, TitleBodyModel):
    """The student in Stage I, under post-trained teachers: ``L_DP_distill + L_DP_emb + L_DP``.

    Stage II takes over its news encoder but not its projections. Word vectors are those of that
    stage's vocabulary (``reading_as``).
    """

    teacher_stage = "post_train_teacher"
    losses_of = StageOneDistillation
    reading_as: ClassVar[type[NewsRecommender]] = PLMNR

    @classmethod
    def conflicting_settings(cls, config: Settings, prefix: str) -> Iterator[str]:
        """Also require equal settings where stages share an encoder or articles."""
        yield from super().conflicting_settings(config, prefix)
        after, teachers = config.for_stage(config["model"]), config.for_stage(cls.teacher_stage)
        handed_over = READING + (READING_WORDS if reads_words(after) else ())
        for name in handed_over:
            if config[name] != after[name]:
                yield (
                    f"{prefix}{name} expects {after[name]}, as in {config['model']}, which takes "
                    f"over the news encoder, got {config[name]}. Set {name} for both, or "
                    "stage_one=False"
                )
        for name in ARTICLES:
            if config[name] != teachers[name]:
                yield (
                    f"{prefix}{name} expects {teachers[name]}, as in {cls.teacher_stage}: teachers "
                    f"and student read the same articles, got {config[name]}. Set {name} for both"
                )


@cache
def title_body_student(reading_as: type[NewsRecommender]) -> type[TitleBodyStudent]:
    """The Stage I student with the sizes and the word encoder of ``reading_as``."""
    as_there = ("news_dim", "text_dim", "make_word_context", "make_word_pooling")
    described: dict[str, Any] = {"__module__": __name__, "__doc__": TitleBodyStudent.__doc__}
    described |= {"reading_as": reading_as, **{n: getattr(reading_as, n) for n in as_there}}
    return type(TitleBodyStudent.__name__, (TitleBodyStudent,), described)
