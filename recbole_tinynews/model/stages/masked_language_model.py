"""Masked-language-model training of a news encoder's language model (Devlin et al., NAACL 2019)."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tinynews.data.articles import MaskedBodies, MaskedNews, MaskedTextDataset
from recbole_tinynews.data.fields import LENGTHS, PLACES, TOKENS, TRUTH
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.distillation.loss_terms import loss_terms
from recbole_tinynews.encoder.hidden_states import Storage
from recbole_tinynews.encoder.one_text import OneTextEncoder
from recbole_tinynews.encoder.plm_files import load_language_model_head
from recbole_tinynews.model.article_reader import ReadsTitlesByPLM
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.settings.protocol import Settings


class Guess(NamedTuple):
    """Raw scores ``[chosen, vocabulary]`` in full precision, and true tokens ``[chosen]``."""

    scores: Tensor
    truth: Tensor


class MaskedLanguageModel(ReadsTitlesByPLM, NewsRecommender):
    """Cross entropy of masked tokens (DAPT); its decoder is tied to the embeddings, and dropped."""

    trainer_class = "MaskedLanguageModelTrainer"
    news_encoder: OneTextEncoder
    reads: ClassVar[Any] = MaskedBodies
    ranks_news = False

    def __init__(self, config: Settings, dataset: MaskedTextDataset) -> None:
        super().__init__(config, dataset)
        encoder = self.news_encoder.language_model
        for head in encoder.heads.values():
            head.requires_grad_(False)
        words = encoder.word_embeddings
        counts = np.bincount(dataset.tokens.values, minlength=len(words))
        self.head = load_language_model_head(self.plm_source, words, torch.from_numpy(counts))

    def text_tokens(self, config: Settings, dataset: Any, view: str) -> Ragged:
        """Unmasked token ids of every text; batches bring their own, masked."""
        return dataset.tokens

    def storage(self, config: Settings, dataset: Any) -> Storage | None:
        """No storage: masks change each epoch."""
        return None

    def start_heads(self, config: Settings, dataset: Any) -> None:
        """Does nothing: the news encoder's heads neither train nor are handed on."""

    def make_user_encoder(self, config: Settings) -> nn.Module:
        """A placeholder, since there are no clicks."""
        return nn.Identity()

    def guess(self, interaction: Interaction) -> Guess:
        """Scores of all tokens at the chosen places."""
        lengths = interaction[LENGTHS].cpu().numpy()
        states = self.news_encoder.language_model.hidden_states(interaction[TOKENS], lengths)
        scores = self.head(states[interaction[PLACES]])
        full = torch.promote_types(scores.dtype, torch.float32)
        return Guess(scores.to(full), interaction[TRUTH])

    def calculate_loss(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """Mean over the chosen tokens of the batch; 0 without any."""
        scores, truth = self.guess(interaction)
        total = F.cross_entropy(scores, truth, reduction="sum")
        return loss_terms({"masked": total / max(len(truth), 1)})


class TaskLanguageModel(MaskedLanguageModel):
    """Masked-language-model training on the data set's own titles and abstracts (TAPT)."""

    reads = MaskedNews
