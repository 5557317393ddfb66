"""Untrained word vectors as a recommender, which trained ones that read by words have to beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from recbole_tinynews.encoder.packing import PackedTexts
from recbole_tinynews.encoder.pooling import pool_texts
from recbole_tinynews.settings.protocol import Settings
from recbole_tinynews.zoo.latefusion import LateFusion


class ZeroShotWords(LateFusion):
    """``ZeroShotPLM`` with word vectors, the start of recommenders with pretrained heads."""

    trainer_class = "UntrainedNewsTrainer"
    fixed: ClassVar[Mapping[str, Any]] = {"news_encoder": "words", "head_init": "pretrained"}

    def __init__(self, config: Settings, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.requires_grad_(False)

    @classmethod
    def news_dim(cls, config: Settings) -> int:
        """Size of a word vector."""
        return config["word_dim"]

    def make_word_context(self, config: Settings) -> nn.Module:
        """No context."""
        return NoContext(config["word_dim"])

    def make_word_pooling(self, config: Settings, dim: int) -> nn.Module:
        """Mean of the words."""
        return MeanOfWords(dim)


class NoContext(nn.Module):
    """Words without context."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, hidden: Tensor, texts: PackedTexts) -> Tensor:
        """``[tokens, dim]`` -> ``[tokens, dim]``."""
        return hidden


class MeanOfWords(nn.Module):
    """Mean of the words of each text."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, hidden: Tensor, texts: PackedTexts) -> Tensor:
        """``[tokens, dim]`` -> ``[texts, dim]``."""
        return pool_texts(None, hidden, texts, masked=True)
