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
from recbole_tinynews.model.baselines.categoryandtitle import CONTENT
from recbole_tinynews.model.baselines.timeboosted import BoostedTrees
from recbole_tinynews.model.interface import BatchContext, reader_features
from recbole_tinynews.model.time_features import (
    LEAST,
    TimeFeatures,
    TimeScore,
    fit_conditional_logit,
)
from recbole_tinynews.pipeline.quick_start import run
from recbole_tinynews.settings.literals import packaged_folder

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
    """Age, exposures so far, and a log rate per window, smoothed by that of training."""
    counters = torch.tensor([[5.0, 1, 3, 8, 10, 30, 200], [0.0, 0, 0, 0, 0, 0, 0]])
    counters = F.pad(counters, (0, 4), value=9)  # the site's
    features = TimeFeatures(3, limited=2)
    features.fit(counters, torch.tensor([1, 0]))
    rates = [np.log((c + 10) / (s + 20)) for c, s in [(1, 10), (3, 30), (8, 200)]]
    plain = [[np.log(6), np.log(201), *rates], [0, 0, *[np.log(0.5)] * 3]]
    np.testing.assert_allclose(features.unscaled(counters), plain, rtol=1e-5, atol=1e-6)
    scaled = features(counters)
    np.testing.assert_allclose(scaled.mean(0), np.zeros(5), atol=1e-6)
    np.testing.assert_allclose(scaled.std(0, correction=0), np.ones(5), rtol=1e-5)


def texts_alone(world: World, batch) -> torch.Tensor:
    counters = batch.interaction.pop(CANDIDATE_FEATURES)
    text = world.model.predict(batch)
    batch.interaction[CANDIDATE_FEATURES] = counters
    return text


@torch.no_grad()
def test_popularity_starts_at_the_fitted_logit_and_leaves_texts_as_they_are(
    tiny: Tiny,
) -> None:
    """From random weights the first steps would forget the text; an index could not be used."""
    linear = {"popularity_windows": WINDOWS, "popularity_hidden": 0}
    world, plain = tiny.world("PLMNR", popularity="added", **linear), tiny.world("PLMNR")
    model = world.model.eval()
    batch = world.shown([*range(14)])
    text = texts_alone(world, batch)
    torch.testing.assert_close(text, plain.model.eval().predict(plain.shown([*range(14)])))
    expected = model.time.text_weight * text
    weights = torch.cat([model.time.rising_weights, model.time.weights])
    expected += model.time.features(batch[CANDIDATE_FEATURES]) @ weights
    torch.testing.assert_close(model.predict(batch), expected, rtol=1e-5, atol=1e-5)

    # the weights are those of the logit, on all training impressions
    loader = type(world.impressions())(world.config, world.train)
    train = loader.collate_impressions(np.arange(loader.impressions.rows))
    text = texts_alone(world, train)
    both = torch.cat([model.time.features(train[CANDIDATE_FEATURES]), text[:, None]], 1).double()
    weights = torch.cat([weights, model.time.text_weight[None]]).double().numpy()
    ends = np.concatenate([[0], train[IMPRESSION_SIZE].cumsum(0).numpy()])
    labels = train["label"].numpy()
    rows = [
        (both[a:b].numpy(), labels[a:b]) for a, b in pairwise(ends) if 0 < labels[a:b].sum() < b - a
    ]
    spread = float(text.double().std(correction=0))
    scale = np.array([*[1] * model.time.features.size, spread])
    scaled = [(features / scale, labels) for features, labels in rows]
    gradient = approx_fprime(weights * scale, plain_loss, 1e-6, scaled)
    rising = model.time.features.rising
    held = weights[:rising] < 1.01 * LEAST  # clicks that would lower a score by themselves
    assert np.abs(np.delete(gradient, np.flatnonzero(held))).max() < 1e-4
    assert (gradient[:rising][held] > -1e-4).all()


def test_clicks_exposures_and_shares_of_each_window_are_features_of_the_term() -> None:
    """A click rate alone does not tell 1 of 2 from 100 of 200, nor a count a busy hour."""
    counters = torch.tensor([[5.0, 1, 3, 8, 10, 30, 200], [1.0, 0, 2, 2, 0, 9, 12]])
    site = torch.tensor([[4.0, 9, 40, 90], [1.0, 2, 10, 20]])
    features, rate = TimeFeatures(3, 2, extended=True), 0.5
    rows = []
    for (age, *counts), (clicks, more_clicks, shown, more_shown) in zip(
        counters.tolist(), site.tolist(), strict=True
    ):
        c = counts[0], counts[1] - counts[0], counts[2] - counts[0]
        s = counts[3], counts[4] - counts[3], counts[5] - counts[3]
        rates = [np.log((a + 20 * rate) / (b + 20)) for a, b in zip(c, s, strict=True)]
        total = clicks, more_clicks - clicks, shown, more_shown - shown
        shares = [np.log((n + 0.1) / (m + 1)) for n, m in zip([*c[:2], *s[:2]], total, strict=True)]
        rising = [np.log1p(c[0]), rates[0], shares[0], np.log1p(age)]
        rows.append([*rising, *np.log1p(c[1:]), *rates[1:], shares[1], *np.log1p(s), *shares[2:]])
    plain = torch.tensor(rows, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):  # which is not to round counts
        found = features.unscaled(torch.cat([counters, site], 1))
    torch.testing.assert_close(found, plain)
    assert features.size == plain.shape[1]


def test_clicks_whose_exposures_nobody_reported_count_as_exposures() -> None:
    """A share of more than one would be learnt from a log of clicks alone."""
    features = TimeFeatures(1, 1, extended=True)
    unreported, reported = torch.tensor([[[2.0, 5, 3, 9, 9]], [[2.0, 5, 5, 9, 9]]])
    assert torch.equal(features.unscaled(unreported), features.unscaled(reported))


def test_a_part_without_the_reader_is_that_of_a_reader_nobody_has_seen() -> None:
    """The page would say that somebody who has just come made a score, and call it popularity."""
    features = TimeFeatures(1, 1, extended=True, reader=True, further=2)
    others, site = [2.0, 3, 9], [20.0, 90]
    known = torch.tensor([[*others, 1, 2, 5, 1, *site, 3, 0.4, 0.7]])
    new = torch.tensor([[*others, 0, 0, -1, -1, *site, -1, 0, 0]])
    assert torch.equal(features.without_reader(known), new)


def test_features_of_a_reader_are_cosines_with_their_clicks_and_page() -> None:
    """Empty slots, the oldest click or another article's page would stand for the newest."""
    draw = torch.Generator().manual_seed(0)
    vectors = torch.randn(6, 4, generator=draw)
    vectors[0] = vectors[4]  # of empty slots, which would be the nearest if they counted
    ids = BatchContext(torch.tensor([[0, 2, 3]]), torch.tensor([[4, 5]]), page=torch.tensor([5]))

    def cosine(one: int, other: int) -> float:
        return float(F.cosine_similarity(vectors[one], vectors[other], dim=0))

    news, history = vectors[ids.candidates], vectors[ids.history]
    found = reader_features(news, history, ids, vectors[[5]])
    expected = [
        [max(cosine(a, 2), cosine(a, 3)), cosine(a, 3), 1, float(a == 5), cosine(a, 5)]
        for a in (4, 5)
    ]
    np.testing.assert_allclose(found[0], expected, rtol=1e-5, atol=1e-6)
    nowhere = ids._replace(history=torch.zeros(1, 3, dtype=torch.long), page=torch.tensor([0]))
    assert not reader_features(news, history, nowhere, vectors[[5]]).any()


def test_features_stay_within_the_range_that_was_trained_on() -> None:
    """A hidden layer that never saw 300 clicks in a minute may rank that article last."""
    draw = torch.Generator().manual_seed(0)
    counters = torch.randint(0, 50, (200, 7), generator=draw).float()
    features = TimeFeatures(1, 1, extended=True)
    features.fit(counters[:, :5], torch.arange(200) % 2)
    seen, rising = features(counters[:, :5]), features.rising
    extreme = features(torch.tensor([[1e6, 3000, 3000, 40, 40], [0, 0, 0, 40, 40]]))
    assert (extreme[:, rising:] <= seen[:, rising:].amax(0)).all()
    assert (extreme >= seen.amin(0)).all()
    assert extreme[0, 0] > seen[:, 0].max()  # more clicks than ever seen count as more


@pytest.mark.parametrize("extended", [False, True])
def test_counts_of_a_larger_site_are_read_as_those_of_training(extended: bool) -> None:
    """A log of a sample of readers, or a site that grew, would rank worse than by clicks alone."""
    counters = torch.arange(1800.0).view(200, 9) % 49
    features = TimeFeatures(2, 2, extended)
    counters[:, -1] = 100  # the site's exposures
    features.fit(counters, torch.arange(200) % 2)
    growth = torch.tensor([1.0, *[10.0] * 8])  # an age stays as it is
    torch.testing.assert_close(features(counters * growth), features(counters))
    quiet = counters * torch.tensor([*[1.0] * 5, *[0.1] * 4])
    read = features.unscaled(quiet)
    features.largest.fill_(torch.inf)
    assert torch.equal(features.unscaled(quiet), read)  # few clicks are not many of a large site


@pytest.mark.parametrize("model", ["TimeBoosted", "BoostedStudent"])
def test_trees_never_rank_an_article_lower_for_a_click(tiny: Tiny, model: str) -> None:
    """Where clicks were bad luck in training, an article would sink while it becomes news."""
    settings = {"boosting_rounds": 20, "reader": "added", "history_from": "log"}
    trees = tiny.same_world(model, **settings).model
    rising, sizes = trees.time_features.rising, np.arange(0, 1201, 6)
    features = np.random.default_rng(0).random((1200, len(CONTENT) + trees.time_features.size))
    clicks = range(len(CONTENT), len(CONTENT) + rising)
    against = features[:, clicks].mean(axis=1) < 0.5  # in this log clicks lower the chances
    trees.fit(features, against | (features[:, 0] > 0.8), sizes)
    row = np.tile(features[0], (101, 1))
    row[:, clicks] = np.linspace(0, 1, 101)[:, None]
    assert (np.diff(trees.score_features(torch.from_numpy(row))) >= 0).all()
    row[:, 0] = np.linspace(0, 1, 101)
    assert (np.diff(trees.score_features(torch.from_numpy(row))) > 0).any()
    row[:, 0], row[:, len(CONTENT)] = 0, np.linspace(0, 2, 101)
    trees.time_features.most.fill_(1)  # beyond which trees know nothing
    steps = np.diff(trees.score_features(torch.from_numpy(row)))[50:]
    np.testing.assert_allclose(steps, 0.02 * trees.time_features.scale[0], rtol=1e-4)


def test_saved_trees_score_as_lightgbm_bit_for_bit_and_damaged_ones_within_bounds() -> None:
    """Whoever serves them has no LightGBM, and a stranger's folder may hold any numbers."""
    lightgbm = pytest.importorskip("lightgbm", reason="the extra 'boosting' is not installed")
    draw = np.random.default_rng(0)
    features = draw.normal(size=(3_000, 5)).astype(np.float32)
    features[:, 1] = features[:, 1].round()  # ties with thresholds
    labels = features[:, 0] + features[:, 1] * features[:, 2] > 1
    ranker = lightgbm.LGBMRanker(n_estimators=20, verbose=-1)
    ranker.fit(features, labels, group=[10] * 300)
    trees = BoostedTrees(25)  # more than were grown
    trees.take(ranker.booster_.dump_model()["tree_info"])
    expected = ranker.predict(features)
    np.testing.assert_array_equal(trees(torch.from_numpy(features)).numpy(), expected)
    for name in ("child", "feature"):
        getattr(trees, name).random_(-(2**31), 2**31 - 1)
    assert trees(torch.from_numpy(features)).isfinite().all()


@torch.no_grad()
def test_trees_read_the_score_of_the_student_under_them(tiny: Tiny) -> None:
    """Without it they would be those of untrained titles, under the student's name."""
    world = tiny.same_world("BoostedStudent", reader="added", history_from="log")
    model, batch = world.model.eval(), world.shown(range(4))
    for weights in (*model.parameters(), *model.buffers()):
        if weights.isnan().any():  # of heads that were not started yet
            weights.normal_()
    text, *_ = model.match_impressions(batch)
    assert torch.equal(model.counters(batch)[:, -1], text)
    assert text.unique().numel() > 4


@pytest.mark.parametrize("hidden", [0, 16])
@given(seed=st.integers(0, 10_000))
def test_a_further_click_never_lowers_a_score(hidden: int, seed: int) -> None:
    """After 50 clicks within a minute a new article fell from place 545 to 5,309 of 5,551."""
    draw = torch.Generator().manual_seed(seed)
    before = torch.randint(0, 40, (64, 9), generator=draw).float()
    before[:, 1:4] = before[:, 1:4].cumsum(1)
    before[:, 4:7] = before[:, 1:4] + before[:, 4:7].cumsum(1)  # a click's exposure is reported
    before[:, 7:] += before[:, 3:4]  # the site's, whose clicks may lack exposures
    term = TimeScore(3, 1, hidden)
    torch.manual_seed(seed)
    for parameter in term.parameters():
        parameter.data = torch.randn_like(parameter)
    term.features.fit(before / 3, torch.arange(64) % 2)  # a smaller site
    after = before.clone()
    after[:, [1, 2, 3, 7]] += torch.randint(1, 50, (64, 1), generator=draw)
    after[:, 4:7] = torch.maximum(after[:, 4:7], after[:, 1:4])
    kept = (after[:, 4:7] == before[:, 4:7]).all(1)
    text = torch.zeros(64)
    gain = term(text, after, text, text) - term(text, before, text, text)
    assert (gain[kept] >= -1e-4 * (1 + gain.abs().max())).all()


@pytest.mark.parametrize("hidden", [0, 16])
@given(seed=st.integers(0, 10_000))
def test_beyond_training_the_odds_grow_as_the_clicks_do(hidden: int, seed: int) -> None:
    """With 1,000 clicks in a minute, where 17 were the most, a new article was at place 38."""
    draw = torch.Generator().manual_seed(seed)
    seen = torch.randint(0, 18, (64, 9), generator=draw).float()
    seen[0, 1] = 17
    torch.manual_seed(seed)
    term = TimeScore(3, 1, hidden)
    term.features.fit(seen, torch.arange(64) % 2)
    assert not term.features.surplus(term.features(seen)).any()
    extreme = torch.full((2, 9), 1e6)
    extreme[:, 0], extreme[:, 1] = 0, torch.tensor([50, 300])
    extreme[:, 7:] = seen[:, 7:].amax(0)  # on a larger site clicks are worth less
    low, high = term(torch.zeros(2), extreme, *(torch.zeros(2),) * 2).tolist()
    assert high - low >= np.log(301 / 51) - 1e-4


@pytest.mark.usefixtures("all_start_steps")
@pytest.mark.parametrize("frozen", [False, True])
def test_the_hidden_layer_starts_with_what_a_line_can_not_tell(frozen: bool) -> None:
    """Of an untrained model no parameter asks for a gradient, so nothing would be fitted."""
    draw = np.random.default_rng(0)
    counters = torch.from_numpy(draw.uniform(0, 30, (4000, 5))).float()
    middle = (counters[:, 0] - 15).abs() < 5  # neither young nor old
    offsets = torch.arange(0, 4001, 4)
    losses = {}
    for hidden in (0, 16):
        torch.manual_seed(0)
        term = TimeScore(1, 1, hidden).requires_grad_(not frozen)
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


def test_a_start_has_no_gradient_that_is_not_a_number() -> None:
    """It reached no weight, but is an error under anomaly detection, which SINE turns on."""
    labels, offsets = torch.tensor([1, 0, 0, 1, 0, 0, 0]), torch.tensor([0, 2, 4, 7])
    score = TimeScore(windows=2, limited=2, hidden=4)
    with torch.autograd.detect_anomaly(check_nan=True):
        score.start(torch.randn(7), torch.rand(7, 9).cumsum(1), labels, offsets)
    assert score.weights.isfinite().all()


def test_a_teacher_may_know_popularity_where_its_student_does_not(tiny: Tiny) -> None:
    """Its labels would be those of texts alone if the student's batches had no counters."""
    world = tiny.world("TinyNewsRec", finetune_teacher_popularity="added")
    assert world.model.time is None
    assert CANDIDATE_FEATURES in world.clicks().collate_fn(range(3)).interaction
    assert CANDIDATE_FEATURES not in tiny.world("PLMNR").clicks().collate_fn([0]).interaction


@pytest.mark.parametrize(("of_teachers", "labelled"), [("none", "text"), ("added", "total")])
def test_teachers_label_the_part_of_a_score_that_they_know(
    tiny: Tiny, of_teachers: str, labelled: str
) -> None:
    """Teachers of texts would pull the term of popularity away from the clicks."""
    world = tiny.world("TinyNewsRec", popularity="added", finetune_teacher_popularity=of_teachers)
    model, batch = world.model.eval(), world.clicked([*range(8)])
    outputs = model.score(batch)
    parts = {"text": outputs.text_scores, "total": outputs.scores}
    assert not torch.allclose(*parts.values())
    losses = {
        name: model.losses(outputs._replace(scores=scores, text_scores=None), batch)
        for name, scores in parts.items()
    }
    found = model.losses(outputs, batch)
    torch.testing.assert_close(found.distillation, losses[labelled].distillation)
    assert not torch.allclose(losses["text"].distillation, losses["total"].distillation)
    torch.testing.assert_close(found.target, losses["total"].target)


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
