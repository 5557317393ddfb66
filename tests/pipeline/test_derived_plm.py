"""Language models derived from another: with fewer tokens, or without layers."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny import LAYERS, NEWS, WORDS, Tiny, finished, run_of, titles

from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.pipeline.run import Run
from recbole_tinynews.pipeline.systems import system
from recbole_tinynews.serving.loading import load

WORD_VECTORS = "embeddings.word_embeddings.weight"


def vectors(run: Run) -> torch.Tensor:
    """News vectors of all articles by the untrained last stage of a run."""
    last = system(run.factory.config)
    torch.manual_seed(0)
    recommender: NewsRecommender = run.factory.model(last.model, run.recipe(last).config)
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
    assert len({run.recipe(last).fingerprint for run in runs}) == 3
    assert "Vocabulary: " in caplog.text
    cache = runs[0].factory.train.cache_dir
    locks = [place.with_name(f".{place.name}.lock") for place in cache.glob("plm-*")]
    for lock in locks:  # of processes killed after their last write
        lock.touch()
    again = tiny.run(vocabulary_min_articles=1, checkpoint_dir=str(tmp_path / "saved"))
    assert torch.equal(whole, vectors(again))
    assert sum(lock.exists() for lock in locks) == len(locks) - 1


@pytest.mark.whole
def test_a_student_without_layers_is_trained_and_served(tiny: Tiny, tmp_path: Path) -> None:
    """Its teachers keep their layers; a served copy ranks as it was evaluated."""
    config = tiny.config(
        "AlignedNewsRec",
        num_hidden_layers=0,
        num_teachers=1,
        news_dim=32,
        plm_learning_rate=1e-5,  # of layers
        checkpoint_dir=str(tmp_path / "saved"),
    )
    run = run_of(config)
    run.make(system(config))
    artifacts = {artifact.name: artifact for artifact in finished(run)}
    words, aligned, taught = (
        artifacts[name].weights.load()["news_encoder.text_encoder.plm." + WORD_VECTORS]
        for name in ("finetune_teacher", "align_student", "AlignedNewsRec")
    )
    assert not torch.equal(words, aligned)
    assert not torch.equal(aligned, taught)
    layers = [
        f"encoder.layer.{LAYERS - 1}." in name
        for name in artifacts["finetune_teacher"].weights.load()
    ]
    assert any(layers)
    groups = run.factory.trainer(config, run.model(system(config)), teachers=None).optimizer
    assert {group["lr"] for group in groups.param_groups} == {config["learning_rate"]}
    model = run.model(system(config)).eval()
    with torch.no_grad():
        want = model.encode_news(torch.arange(1, NEWS + 1))
    folder = artifacts["AlignedNewsRec"].folder
    got = load(folder).engine.encode({"title": titles()})
    torch.testing.assert_close(got, want)
    # half of the time that README's first script took
    code = f"import sys, recbole_tinynews as r; r.load({str(folder)!r}).rank(['a'], ['b']); "
    code += "print('transformers.modeling_utils' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        ("TinyBERT", {}, "expects a student with layers"),
        ("TinyNewsRec", {"student_init": "teacher"}, "student_init=teacher expects"),
    ],
)
def test_what_needs_layers_refuses_a_student_without(
    tiny: Tiny, model: str, settings: dict, message: str
) -> None:
    """Nothing would be compared, or a teacher's input embeddings be taken for its outputs."""
    with pytest.raises(ValueError, match=message):
        system(tiny.config(model, num_hidden_layers=0, **settings))


def test_joint_teachers_have_the_trimmed_vocabulary_too(tiny: Tiny, tmp_path: Path) -> None:
    """They start with a trimmed teacher's weights, which would not fit."""
    config = tiny.config(
        "NewsBERT", vocabulary_min_articles=14, checkpoint_dir=str(tmp_path / "saved")
    )
    run = run_of(config)
    artifact = run.make(system(config))
    words = artifact.weights.load()["news_encoder.text_encoder.plm." + WORD_VECTORS]
    assert len(words) < len(WORDS)


def test_more_articles_than_there_are_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    """A vocabulary of single letters would be trained without a word."""
    run = tiny.run(vocabulary_min_articles=10**8, checkpoint_dir=str(tmp_path / "saved"))
    with pytest.raises(ValueError, match="vocabulary_min_articles=100000000 expects at most"):
        run.make(system(run.factory.config))
