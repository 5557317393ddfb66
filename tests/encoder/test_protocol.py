"""Code that uses a news encoder relies on its base ``NewsEncoder`` and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from tiny import Tiny, impressions_of, titles
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.encoder.hidden_states import StateRequest
from recbole_tinynews.encoder.news_encoder import NewsEncoder
from recbole_tinynews.encoder.one_text import ColumnTokenizer
from recbole_tinynews.model.paper.ensembleteacher import NewsEncoders
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.pipeline.outcome import news_per_second
from recbole_tinynews.serving.engine import ModelEngine
from recbole_tinynews.serving.ranker import Ranker


class WordVectors(NewsEncoder):
    """Encodes a text as the mean of its word vectors, without a language model."""

    def __init__(self, words: int, dim: int, tokenizer: ColumnTokenizer) -> None:
        super().__init__()
        self.words, self._tokenizer = nn.EmbeddingBag(words, dim), tokenizer

    def encode_distinct(self, ids: np.ndarray) -> Tensor:
        return self._mean(self.tokens.take(ids))

    @torch.no_grad()
    def encode_texts(self, columns: Mapping[str, Sequence[str]]) -> Tensor:
        tokens = self._tokenizer(columns)
        return self._mean(tokens.take(np.arange(1, tokens.rows)))

    def _mean(self, texts: Ragged) -> Tensor:
        values = torch.from_numpy(texts.values.astype(np.int64))
        return self.words(values, torch.from_numpy(texts.offsets[:-1].astype(np.int64)))


class Loss(NamedTuple):
    target: Tensor


class Words(NewsRecommender):
    def make_news_encoder(self, config: Any) -> WordVectors:
        tokenizer = self.column_tokenizer(config, "title")
        return WordVectors(len(self.tokenizer), config["news_dim"], tokenizer)

    def losses(self, scored: Any, interaction: Any) -> Loss:
        return Loss(F.cross_entropy(scored.scores, interaction[self.label_field]))


def test_a_users_own_encoder_trains_ranks_and_is_measured(tiny: Tiny) -> None:
    """Code that assumes a language model would fail for every encoder without one."""
    world = tiny.world(Words, max_steps=3)
    before = world.model.news_encoder.words.weight.detach().clone()
    assert world.trainer().fit(world.clicks(), world.impressions())[1] is not None
    assert not torch.equal(world.model.news_encoder.words.weight, before)
    assert news_per_second(world.model.news_encoder) > 0
    clicked, shown = [3, 4], [6, 7, 8]
    batch = impressions_of([clicked], [shown])
    with torch.no_grad():
        expected = world.model.eval().predict(batch)
    words = titles()
    ranked = Ranker(ModelEngine(world.model, world.config.final_config_dict, "")).rank(
        [words[each - 1] for each in clicked], [words[each - 1] for each in shown]
    )
    scores = [each.score for each in sorted(ranked, key=lambda each: each.place)]
    torch.testing.assert_close(torch.tensor(scores), expected)


@pytest.fixture
def ensemble(tiny: Tiny) -> NewsEncoders:
    torch.manual_seed(2)
    return NewsEncoders([tiny.world().model.news_encoder for _ in range(2)]).eval()


def test_an_ensemble_refuses_to_give_hidden_states(ensemble: NewsEncoders) -> None:
    """Those of its first encoder would be taken for those of all."""
    with pytest.raises(ValueError, match=r"one language model.*got NewsEncoders"):
        ensemble.record_states(StateRequest(frozenset({1})))
