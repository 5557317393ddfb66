"""Recommenders of the zoo against plain versions of them, and their sizes counted by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import plain_users
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from plain_recommenders import miner_interests, pprec
from published import (
    CATEGORY_IDS,
    USERS,
    WORD_VECTORS,
    assert_as_in_its_paper,
    assert_equal_gradients,
    assert_learns_from_teachers,
    assert_refused,
    at_paper_size,
    cnn,
    dense,
    folder_of,
    gru,
    known,
    pooling,
    reader_of,
)
from random_logs import HOUR, Log, impressions_of, logs
from tiny import PLM_TEACHERS, Tiny, student_of
from torch.nn import functional as F

from recbole_tinynews.data.fields import CANDIDATE_FEATURES, CANDIDATES, HISTORY, IMPRESSION_SIZE
from recbole_tinynews.pipeline.systems import system
from recbole_tinynews.serving.loading import load
from recbole_tinynews.zoo.pprec import CountsSoFar

CASES: list[tuple[str, dict[str, Any]]] = [
    ("CenNewsRec", {"recent_clicks": 2}),
    ("CenNewsRec", {"recent_clicks": 20, "head_dim": 8}),
    ("LateFusion", {}),
    ("TANR", {}),
    ("Fastformer", {}),
    ("Fastformer", {"user_layers": 2, "word_encoder": "cnn"}),
    ("NPA", {}),
    ("MINER", {"context_codes": 3, "code_dim": 5}),
]
EACH = ("CenNewsRec", "TANR", "Fastformer", "NPA", "MINER", "PPRec")
SECOND_LOSS = {"TANR": "topic", "MINER": "disagreement"}


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_a_recommender_scores_and_learns_as_its_paper_says(tiny: Tiny, name: str, settings) -> None:
    """Of all that a table compares, a wrong equation would be the hardest to see."""
    assert_as_in_its_paper(tiny, name, settings)


def test_tanr_learns_the_known_categories_of_clicks_and_candidates(tiny: Tiny) -> None:
    """Padding or an unknown category as a topic of its own would be the easiest to learn."""
    world = tiny.world("TANR", topic_loss_weight=0.3)
    model, batch = known(world.model), world.clicks().collate_fn(range(8))
    model.get_buffer("category")[5::7] = 0
    losses = model.calculate_loss(batch)
    assert losses._fields == ("target", "topic")
    outputs, category = model.score(batch), model.get_buffer("category")
    found = [
        -F.log_softmax(model.topic(vector), dim=0)[category[news]]
        for ids, vectors in (
            (batch[HISTORY], outputs.news.history),
            (batch[CANDIDATES], outputs.news.candidates),
        )
        for news, vector in zip(ids.flatten().tolist(), vectors.flatten(0, 1), strict=True)
        if category[news]
    ]
    assert 0 < len(found) < int((batch[HISTORY] != 0).sum()) + batch[CANDIDATES].numel()
    torch.testing.assert_close(losses.topic, 0.3 * torch.stack(found).mean())


def test_miners_second_loss_is_the_disagreement_of_interests(tiny: Tiny) -> None:
    world = tiny.world("MINER", news_encoder="words", disagreement_loss_weight=0.7, context_codes=3)
    model, reader = known(world.model), reader_of(world)
    batch = world.clicks().collate_fn(range(5))
    losses = model.calculate_loss(batch)
    assert losses._fields == ("target", "disagreement")
    found = [
        plain_users.alike(miner_interests(reader, [n for n in history.tolist() if n], news))
        for history, candidates in zip(batch[HISTORY], batch[CANDIDATES], strict=True)
        for news in candidates.tolist()
    ]
    torch.testing.assert_close(losses.disagreement, 0.7 * torch.stack(found).mean())


def test_pprec_scores_and_learns_as_its_paper_says(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interest and popularity share no equation: either may be wrong while the other ranks."""
    world = tiny.world("PPRec")
    model, reader = known(world.model), reader_of(world)
    batch, random = world.shown([0, 1, 2, 3, 4]), np.random.default_rng(0)
    exposures = random.integers(1, 90, len(batch[CANDIDATES]))
    clicks, ages = random.binomial(exposures, 0.3), random.uniform(1, 1600, len(exposures))
    now = np.column_stack([ages, clicks, exposures])
    exposures = random.integers(0, 4, batch[HISTORY].shape) * 30  # 0: never exposed to others
    of_clicks = np.stack([random.binomial(exposures, 0.3), exposures], axis=-1).astype(float)
    batch[CANDIDATE_FEATURES] = torch.from_numpy(now)
    monkeypatch.setattr(model.clicks, "at", lambda *_: torch.from_numpy(of_clicks))
    scores, rate = model.predict(batch), float(model.time.features.click_rate)
    places = torch.arange(len(scores)).split(batch[IMPRESSION_SIZE].tolist())
    plain = torch.stack(
        [
            pprec(
                reader,
                [n for n in history.tolist() if n],
                int(batch[CANDIDATES][place]),
                now[place].tolist(),
                [pair for pair, n in zip(counts.tolist(), history, strict=True) if n],
                rate,
            )
            for history, counts, row in zip(batch[HISTORY], of_clicks, places, strict=True)
            for place in row.tolist()
        ]
    )
    torch.testing.assert_close(scores, plain)
    assert_equal_gradients(model, scores, plain)
    del batch.interaction[CANDIDATE_FEATURES], batch.interaction["timestamp"]
    user = model.encode_user(model.encode_news(batch[HISTORY]), batch[HISTORY] != 0)
    text = model.encode_news(batch[CANDIDATES]) * user.repeat_interleave(batch[IMPRESSION_SIZE], 0)
    torch.testing.assert_close(model.predict(batch), text.sum(-1))


def test_pprec_compares_each_click_with_each_negative(tiny: Tiny) -> None:
    world = tiny.world("PPRec")
    batch = world.clicks().collate_fn(range(5))
    (loss,), scores = world.model.eval().calculate_loss(batch), world.model.score(batch).scores
    pairs = [-torch.sigmoid(row[0] - other).log() for row in scores for other in row[1:]]
    torch.testing.assert_close(loss, torch.stack(pairs).mean())


@pytest.mark.parametrize("name", EACH)
def test_a_recommender_learns_from_teachers_too(tiny: Tiny, name: str) -> None:
    """Its own second loss would be lost, or one of the parts left without a gradient."""
    second = [SECOND_LOSS[name]] if name in SECOND_LOSS else []
    model = assert_learns_from_teachers(tiny, name, {}, *second)
    assert model.loss_units.get("topic") == ("articles" if name == "TANR" else None)


def test_articles_of_npa_are_compared_as_an_unknown_reader_reads_them(tiny: Tiny) -> None:
    """Its encoder returns all words: their distance would be that of places in titles."""
    world = tiny.world("NPA")
    model, batch = known(world.model), world.shown([5])
    batch["user_id"][:] = 0
    about = model._context(batch)
    read = model.user_encoder.read(model.encode_news(about.candidates)[None], *about.of_readers)
    torch.testing.assert_close(model.article_vectors(about.candidates), read[0])


def test_a_student_npa_is_not_post_trained(tiny: Tiny) -> None:
    """Stage I knows no reader, and so no vector of an article that NPA would start with."""
    with pytest.raises(ValueError, match=r"stage_one expects False in NPAStudent"):
        system(tiny.config(student_of("NPA"), **PLM_TEACHERS))


@pytest.mark.parametrize("name", ["CenNewsRec", "Fastformer", "PPRec"])
def test_a_recommender_of_titles_is_served(tiny: Tiny, tmp_path: Path, name: str) -> None:
    """A setting that is not kept with the weights would build another one."""
    ranker = load(folder_of(tiny, name, tmp_path))
    ranked = ranker.rank(["word1 word2"], ["word3 unheard of", "word4 word5"])
    assert len({each.score for each in ranked}) == 2


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("NPA", "is a NPA, which knows users by their ids in its data set"),
        ("MINER", "is a MINER, which looks up the categories of clicks and candidates"),
    ],
)
def test_one_that_knows_more_than_articles_is_not_served(
    tiny: Tiny, tmp_path: Path, name: str, why: str
) -> None:
    """It would rank with what it knows left out, and no score would show it."""
    folder = folder_of(tiny, name, tmp_path)
    with pytest.raises(ValueError, match=why):
        load(folder)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("NPA", {"news_encoder": "plm"}, "news_encoder expects words in NPA.*got plm. Leave"),
        ("NPA", {"head_init": "pretrained"}, r"^stage_head_init expects random in NPA"),
        ("CenNewsRec", {"word_encoder": "self_attention"}, "word_encoder expects cnn in CenNews"),
        ("MINER", {"context_codes": 0}, "^stage_context_codes expects at least 1, got 0"),
        ("TANR", {"topic_loss_weight": -0.1}, "^stage_topic_loss_weight expects at least 0, got"),
        ("Fastformer", {"user_layers": 0}, "^stage_user_layers expects at least 1, got 0"),
        ("CenNewsRec", {"head_dim": 0}, "^stage_head_dim expects at least 1, got 0"),
        ("PPRec", {"popularity_dim": 0}, "^stage_popularity_dim expects at least 1, got 0"),
    ],
)
def test_settings_that_do_not_fit_are_found_before_training(
    tiny: Tiny, name: str, settings: dict[str, Any], message: str
) -> None:
    assert_refused(tiny, name, settings, message)


WORDS_ATTEND = 3 * 300 * 256 + pooling(256)
OF_MINER = 256 * 200 + 32 * 200 + 256 * 256 + 256  # W, the context codes, weights of interests
OF_PPREC = 3 * 300 * 400 + 3 * 400 * 400 + 201 * 100 + pooling(400) + pooling(500) + 400
AGES = 1500 * 100 + dense(100, 64, 64, 1)  # by hours
GATES = dense(400, 256, 256, 128, 1) + dense(500, 128, 64, 1) + dense(400, 64, 1) + 2
SIZES: dict[str, int] = {  # beside the vectors of words
    "CenNewsRec": cnn(400) + 6 * 400 * 400 + 3 * pooling(400) + gru(400, 400) + 400,
    "LateFusion": WORDS_ATTEND + 256,
    "TANR": cnn(400) + 2 * pooling(400) + 400,
    "Fastformer": WORDS_ATTEND + 3 * (256 * 256 + 256) + 2 * 256 + pooling(256) + 256,
    "NPA": cnn(400) + USERS * 50 + 2 * (50 * 200 + 200 + 200 * 400 + 400) + 400,
    "MINER": WORDS_ATTEND + OF_MINER + CATEGORY_IDS * 300 + 1 + 256,  # categories and lambda
    "PPRec": OF_PPREC + AGES + GATES,
}


@pytest.mark.parametrize(("name", "expected"), SIZES.items())
def test_a_recommender_is_as_large_as_counted_by_hand(tiny: Tiny, name: str, expected: int) -> None:
    """At the sizes of the papers, which its yaml has."""
    assert at_paper_size(tiny, name).parameter_count == WORD_VECTORS + expected


asked = st.lists(
    st.tuples(st.integers(0, 12), st.integers(1, 4), st.lists(st.integers(0, 5), min_size=3)),
    min_size=1,
)


@given(log=logs, delay=st.integers(0, 4), asked=asked)
def test_counters_of_clicks_are_those_of_others_before(log: Log, delay: int, asked) -> None:
    """A click counted for the article that it is about would tell a user encoder its label."""
    counts = CountsSoFar(impressions_of(log), delay * HOUR)
    events = [(at, who, news, label == 1) for at, who, row in log for news, label in row]
    times, users = (torch.tensor(each)[:, None] for each in list(zip(*asked, strict=True))[:2])
    found = counts.at(torch.tensor([news[:3] for *_, news in asked]), users, times * HOUR)
    for (time, user, history), row in zip(asked, found.tolist(), strict=True):
        for article, (clicks, exposures) in zip(history, row, strict=False):
            seen = [
                clicked
                for at, who, news, clicked in events
                if at < time - delay and who != user and news == article
            ]
            assert (clicks, exposures) == (sum(seen), len(seen))
