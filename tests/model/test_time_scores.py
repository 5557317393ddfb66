"""What is read now in scores: against plain versions, and from the first step on."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import approx_fprime
from tiny import Tiny, World
from torch.nn import functional as F

from recbole_tinynews.data.fields import CANDIDATE_FEATURES, IMPRESSION_SIZE
from recbole_tinynews.model.time_features import TimeFeatures, TimeScore, fit_conditional_logit
from recbole_tinynews.paths import packaged_folder
from recbole_tinynews.quick_start import run
from recbole_tinynews.serving.engine import ModelEngine

WINDOWS = [3, 24, None]
PENALTY = 1e-4


def plain_loss(weights: np.ndarray, rows: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """The loss of a conditional logit, impression by impression."""
    total = 0.0
    for features, labels in rows:
        scores = features @ weights
        shares = np.exp(scores) / np.exp(scores).sum()
        total -= np.log(shares[labels == 1]).mean()
    return total / len(rows) + PENALTY * float(weights @ weights)


@given(seed=st.integers(0, 10_000))
def test_weights_of_the_logit_are_at_the_minimum_of_the_plain_loss(seed: int) -> None:
    """A sign, a missing penalty or an impression of one label would shift the minimum."""
    draw = np.random.default_rng(seed)
    sizes = draw.integers(1, 6, 30)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    features = draw.normal(size=(offsets[-1], 3))
    labels = draw.integers(0, 2, offsets[-1])
    rows = [
        (features[a:b], labels[a:b]) for a, b in pairwise(offsets) if 0 < labels[a:b].sum() < b - a
    ]
    if not rows:
        return
    weights = fit_conditional_logit(features, labels, offsets, PENALTY)
    gradient = approx_fprime(weights, plain_loss, 1e-6, rows)
    assert np.abs(gradient).max() < 1e-4


def test_a_logit_without_a_mixed_impression_is_refused() -> None:
    """Weights of zero would rank at random without a word."""
    with pytest.raises(ValueError, match="clicked and unclicked"):
        fit_conditional_logit(np.ones((2, 1)), np.array([1, 1]), np.array([0, 2]))


def test_time_features_are_those_of_the_definition() -> None:
    """Age, exposures so far, and a log rate per window against the click rate of training."""
    counters = torch.tensor([[5.0, 1, 3, 8, 10, 30, 200], [0.0, 0, 0, 0, 0, 0, 0]])
    features = TimeFeatures(3)
    features.fit(counters, torch.tensor([1, 0]))
    rate = 0.5
    plain = np.array(
        [
            [np.log(6), np.log(201), *(np.log((c + 20 * rate) / (s + 20) / rate) for c, s in pairs)]
            for pairs in ([(1, 10), (3, 30), (8, 200)],)
        ]
        + [[0, 0, 0, 0, 0]]
    )
    np.testing.assert_allclose(features.unscaled(counters), plain, rtol=1e-5, atol=1e-6)
    scaled = features(counters)
    np.testing.assert_allclose(scaled.mean(0), np.zeros(5), atol=1e-6)
    np.testing.assert_allclose(scaled.std(0, correction=0), np.ones(5), rtol=1e-5)


def texts_alone(world: World, batch) -> torch.Tensor:
    counters = batch.interaction.pop(CANDIDATE_FEATURES)
    text = world.model.predict(batch)
    batch.interaction[CANDIDATE_FEATURES] = counters
    return text


@pytest.mark.parametrize("kind", ["added", "gated"])
@torch.no_grad()
def test_popularity_starts_at_the_fitted_logit_and_leaves_texts_as_they_are(
    kind: str, tiny: Tiny
) -> None:
    """From random weights the first steps would forget the text; an index could not be used."""
    linear = {"popularity_windows": WINDOWS, "popularity_hidden": 0}
    world, plain = tiny.world("PLMNR", popularity=kind, **linear), tiny.world("PLMNR")
    model = world.model.eval()
    batch = world.shown([*range(14)])
    text = texts_alone(world, batch)
    torch.testing.assert_close(text, plain.model.eval().predict(plain.shown([*range(14)])))
    expected = model.time.text_weight * text
    expected += model.time.features(batch[CANDIDATE_FEATURES]) @ model.time.weights
    torch.testing.assert_close(model.predict(batch), expected, rtol=1e-5, atol=1e-5)

    # the weights are those of the logit, on all training impressions
    loader = type(world.impressions())(world.config, world.train)
    train = loader.collate_impressions(np.arange(loader.impressions.rows))
    text = texts_alone(world, train)
    both = torch.cat([text[:, None], model.time.features(train[CANDIDATE_FEATURES])], 1).double()
    weights = torch.cat([model.time.text_weight[None], model.time.weights]).double().numpy()
    ends = np.concatenate([[0], train[IMPRESSION_SIZE].cumsum(0).numpy()])
    labels = train["label"].numpy()
    rows = [
        (both[a:b].numpy(), labels[a:b]) for a, b in pairwise(ends) if 0 < labels[a:b].sum() < b - a
    ]
    spread = float(text.double().std(correction=0))
    scale = np.array([spread, *[1] * model.time.features.size])
    scaled = [(features / scale, labels) for features, labels in rows]
    gradient = approx_fprime(weights * scale, plain_loss, 1e-6, scaled)
    assert np.abs(gradient).max() < 1e-4


def test_clicks_and_exposures_of_each_window_are_features_of_the_term() -> None:
    """A click rate alone does not tell 1 of 2 from 100 of 200."""
    counters = torch.tensor([[5.0, 1, 3, 8, 10, 30, 200], [1.0, 0, 2, 2, 0, 9, 12]])
    features, few = TimeFeatures(3, extended=True), TimeFeatures(3)
    context = torch.rand(2, 8)
    plain = torch.cat([counters.log1p(), few.unscaled(counters)[:, 2:], context], 1)
    torch.testing.assert_close(features.unscaled(torch.cat([counters, context], 1)), plain)
    assert features.size == plain.shape[1]


@pytest.mark.parametrize("frozen", [False, True])
def test_the_hidden_layer_starts_with_what_a_line_can_not_tell(frozen: bool) -> None:
    """Of an untrained model no parameter asks for a gradient, so nothing would be fitted."""
    draw = np.random.default_rng(0)
    counters = torch.from_numpy(draw.uniform(0, 30, (4000, 7))).float()
    middle = (counters[:, 0] - 15).abs() < 5  # neither young nor old
    offsets = torch.arange(0, 4001, 4)
    losses = {}
    for hidden in (0, 16):
        torch.manual_seed(0)
        term = TimeScore(1, hidden).requires_grad_(not frozen)
        text = torch.from_numpy(draw.normal(size=4000)).float()
        term.start(text, counters, middle.long(), offsets)
        scores = term(text, counters, text, text).detach().view(-1, 4)
        wanted = middle.view(-1, 4)
        some = wanted.any(1) & ~wanted.all(1)
        shares = (scores.log_softmax(1) * wanted).sum(1) / wanted.sum(1)
        losses[hidden] = -float(shares[some].mean())
        assert {p.requires_grad for p in term.parameters()} == {not frozen}
        assert all(p.grad is None for p in term.parameters())
    assert losses[16] < 0.8 * losses[0]


def test_a_start_leaves_dropout_as_it_was(tiny: Tiny) -> None:
    """A caller that does not switch to training would train without dropout."""
    world = tiny.world("PLMNR", popularity="added")
    for training in (True, False):
        world.model.train(training).start_time(world.config, world.train)
        assert world.model.training is training


def test_counters_and_gate_train(tiny: Tiny) -> None:
    """A term without a gradient would stay at its start."""
    world = tiny.world("PLMNR", popularity="gated")
    model = world.model.train()
    sum(model.calculate_loss(world.clicked([*range(8)]))).backward()
    for parameter in model.time.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0


@pytest.mark.parametrize("name", ["PLMNR", "MINER", "TinyNewsRec"])
def test_an_offset_is_in_the_loss_of_clicks_alone(name: str, tiny: Tiny) -> None:
    """In labels or rankings it would be what texts are to be without; trained, it would fade."""
    world = tiny.world(name, popularity="offset")
    model = world.model.eval()
    batch, shown = world.clicked([*range(8)]), world.shown([3, 4])
    text, news = model.score(batch).scores, model.encode(batch)
    torch.testing.assert_close(text, model.match(news).scores)
    torch.testing.assert_close(model.predict(shown), texts_alone(world, shown))
    features = model.time.features(batch[CANDIDATE_FEATURES])
    assert model.time.weights.abs().sum() > 0
    total = model.time.text_weight * text + model.time.term(features)
    plain = F.cross_entropy(total, batch["label"])
    trained = [p for p in model.parameters() if p.requires_grad]
    found = model.calculate_loss(batch).target
    torch.testing.assert_close(found, plain)
    gradients = (torch.autograd.grad(each, trained, allow_unused=True) for each in (found, plain))
    torch.testing.assert_close(*map(list, gradients))
    assert not any(p.requires_grad for p in model.time.parameters())
    assert ModelEngine(model, world.config.final_config_dict, "").counting is None
    model.adds_time = True
    torch.testing.assert_close(model.score(batch).scores, total)


def test_a_start_has_no_gradient_that_is_not_a_number() -> None:
    """It reached no weight, but is an error under anomaly detection, which SINE turns on."""
    labels, offsets = torch.tensor([1, 0, 0, 1, 0, 0, 0]), torch.tensor([0, 2, 4, 7])
    score = TimeScore(windows=2, hidden=4)
    with torch.autograd.detect_anomaly(check_nan=True):
        score.start(torch.randn(7), torch.rand(7, 11), labels, offsets)
    assert score.weights.isfinite().all()


def test_a_teacher_may_know_popularity_where_its_student_does_not(tiny: Tiny) -> None:
    """Its labels would be those of texts alone if the student's batches had no counters."""
    world = tiny.world("TinyNewsRec", finetune_teacher_popularity="added")
    assert world.model.time is None
    assert CANDIDATE_FEATURES in world.clicks().collate_fn(range(3)).interaction
    assert CANDIDATE_FEATURES not in tiny.world("PLMNR").clicks().collate_fn([0]).interaction


def test_teachers_with_other_counters_than_their_student_are_refused(tiny: Tiny) -> None:
    """Clicks of one window would be read as those of another, or as exposures."""
    given = {"popularity": "added", "finetune_teacher_popularity_windows": [24]}
    config = tiny.config("TinyNewsRec", **given)
    (mistake,) = config.model_class.conflicting_settings(config, "")
    assert "equal popularity_windows" in mistake


def test_models_of_time_come_near_the_known_optimum_in_their_order(tmp_path: Path) -> None:
    """Counters or ages of other articles would still rank a little better than chance."""
    given = {"show_progress": False, "checkpoint_dir": str(tmp_path)}
    popular, rate, both = (
        run(name, "mind-mini-time", config_dict=given)["test"]["auc"]
        for name in ("PopularNow", "ClickRateNow", "TimeAndTitle")
    )
    oracle = packaged_folder("dataset") / "mind-mini-time" / "mind-mini-time.oracle.json"
    best = json.loads(oracle.read_text())
    now, everything = best["from_now"]["test"]["auc"], best["test"]["auc"]
    assert 0.55 < popular < rate < now < everything
    assert now - 0.06 < rate < both < everything
    assert both > everything - 0.1
