"""Untrained word vectors as a recommender: what those that read by words have to beat."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from recbole_tinynews.encoder.pooling import MeanOfWords
from recbole_tinynews.encoder.words.context import NoContext
from recbole_tinynews.model.latefusion import LateFusion
from recbole_tinynews.model.text_encoders import reads_words, starts_pretrained
from recbole_tinynews.settings.protocol import Settings


class ZeroShotWords(LateFusion):
    """Cosine of a candidate with the mean of the clicked articles; nothing is trained.

    An article's vector is the mean of its title's word vectors, minus the mean vector of the
    training news where ``centred``, and of unit length. So any recommender with word vectors and
    pretrained heads starts (our definition; docs/method.md, section 1). Without a file the word
    vectors are random, and only equal words are similar. A user without clicks gets equal scores.
    """

    trainer_class = "UntrainedNewsTrainer"

    def __init__(self, config: Settings, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.requires_grad_(False)

    @classmethod
    def conflicting_settings(cls, config: Settings, prefix: str) -> Iterator[str]:
        """Errors of the base class, and random heads, which would never learn."""
        yield from super().conflicting_settings(config, prefix)
        if not (reads_words(config) and starts_pretrained(config)):
            yield (
                f"{cls.__name__} trains nothing, and expects {prefix}news_encoder=words and "
                f"{prefix}head_init=pretrained, got {config['news_encoder']} and "
                f"{config['head_init']}. Leave both out; ZeroShotPLM reads by a language model"
            )

    @classmethod
    def news_dim(cls, config: Settings) -> int:
        """The size of a word vector: nothing is projected."""
        return config["word_dim"]

    def make_word_context(self, config: Settings) -> nn.Module:
        """Words as they are."""
        return NoContext(config["word_dim"])

    def make_word_pooling(self, config: Settings, dim: int) -> nn.Module:
        """Their mean."""
        return MeanOfWords(dim)
