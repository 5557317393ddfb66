"""CenNewsRec (Qi et al., Findings of EMNLP 2020): attention to all clicks, GRU over the newest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from recbole_tinynews.encoder.packing import PackedTexts
from recbole_tinynews.encoder.pooling import AttentionPooling, SelfAttention
from recbole_tinynews.encoder.users import NoClicks, last_state
from recbole_tinynews.encoder.words import WordCNN
from recbole_tinynews.model.article_reader import reads_words
from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.model.student import Student
from recbole_tinynews.settings.protocol import Settings


class CenNewsRec(PLMNR):
    """Words: CNN, self-attention, attention pooling (section 3.1). Clicks: ``RecentAndAllUser``."""

    least: ClassVar[Mapping[str, float]] = {"head_dim": 1, "recent_clicks": 1}

    @classmethod
    def conflicting_settings(cls, config: Settings, prefix: str) -> Iterator[str]:
        """Also require heads that divide a vector, and the CNN word encoder."""
        yield from super().conflicting_settings(config, prefix)
        head = config["head_dim"]
        if reads_words(config) and config["word_encoder"] != "cnn":
            yield (
                f"{prefix}word_encoder expects cnn in {cls.__name__}, whose words pass a CNN and "
                f"then self-attention, got {config['word_encoder']}. Leave {prefix}word_encoder out"
            )
        if issubclass(cls, Student) and config["stage_one"]:
            before = config.for_stage("post_train_student")["head_dim"]
            if before != head:
                yield (
                    f"post_train_student_head_dim expects {head}, as in {cls.__name__}, which "
                    f"takes over the news encoder, got {before}. Set head_dim for both"
                )

    def make_word_context(self, config: Settings) -> nn.Module:
        """CNN, then self-attention."""
        return CNNSelfAttention(config["word_dim"], config["news_dim"], config["head_dim"])

    def make_user_encoder(self, config: Settings) -> nn.Module:
        """Attention over all clicks and a GRU over the newest."""
        own = RecentAndAllUser(
            self.news_dim(config), config["query_dim"], config["head_dim"], config["recent_clicks"]
        )
        return self.started(config, own)


class CNNSelfAttention(nn.Module):
    """``WordCNN``, then multi-head self-attention within each text."""

    def __init__(self, in_dim: int, dim: int, head_dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.cnn = WordCNN(in_dim, dim)
        self.self_attention = SelfAttention(dim, dim, head_dim)

    def forward(self, hidden: Tensor, texts: PackedTexts) -> Tensor:
        """``[tokens, in_dim]`` -> ``[tokens, dim]``."""
        return self.self_attention.within_texts(self.cnn(hidden, texts), texts)


class RecentAndAllUser(nn.Module):
    """Long-term interests of all clicks and short-term ones of ``recent``, pooled.

    Qi et al., Findings of EMNLP 2020, section 3.1: attention pooling over multi-head self-attention
    with attention pooling, and a GRU's last state.
    """

    def __init__(self, news_dim: int, query_dim: int, head_dim: int, recent: int) -> None:
        super().__init__()
        self.recent = recent
        self.self_attention = SelfAttention(news_dim, news_dim, head_dim)
        self.pooling = AttentionPooling(news_dim, query_dim)
        self.short_term = nn.GRU(news_dim, news_dim, batch_first=True)
        self.combination = AttentionPooling(news_dim, query_dim)
        self.no_clicks = NoClicks(news_dim)

    def forward(self, history: Tensor, clicked: Tensor) -> Tensor:
        """User vectors ``[batch, dim]`` from clicks ``[batch, history, dim]``."""
        long_term = self.pooling(self.self_attention(history, clicked), clicked)
        short_term = last_state(self.short_term, history, clicked, newest=self.recent)
        user = self.combination(torch.stack([long_term, short_term], dim=1))
        return self.no_clicks(user, clicked)
