"""Language models with a vocabulary of their own, from training to exports."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from tiny import Tiny

from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.pipeline.run import Run
from recbole_tinynews.pipeline.systems import system


def vectors(run: Run) -> torch.Tensor:
    """News vectors of all articles by the untrained last stage of a run."""
    last = system(run.factory.config)
    torch.manual_seed(0)
    recommender: NewsRecommender = run.factory.model(last.model, run.recipes.of(last).config)
    with torch.no_grad():
        return recommender.eval().encode_news(torch.arange(run.factory.train.num("item_id")))


def test_a_vocabulary_of_the_training_articles_changes_none_of_their_vectors(
    tiny: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The smaller model would rank otherwise, and its results be taken for the other's."""
    caplog.set_level(logging.INFO)
    runs = [
        tiny.run(vocabulary_min_articles=at_least, checkpoint_dir=str(tmp_path / "saved"))
        for at_least in (None, 1, 14)
    ]
    whole, same, fewer = map(vectors, runs)
    ids = runs[0].factory.train.training_news()
    assert torch.equal(whole[ids], same[ids])
    equal = (whole == fewer).all(dim=1)
    assert 1 < equal.sum() < len(ids)
    last = system(runs[0].factory.config)
    assert len({run.recipes.of(last).fingerprint for run in runs}) == 3
    assert "Vocabulary: " in caplog.text
