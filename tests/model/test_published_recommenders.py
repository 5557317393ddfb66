"""Published recommenders against plain versions of them, and their sizes counted by hand."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import plain_users
import pytest
import torch
from plain_recommenders import PLAIN, Reader, miner_interests, pprec
from tiny import DATASET, OWN_SETTINGS, PLM_TEACHERS, SETTINGS, Tiny, World, student_of
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModel

from recbole_tinynews.config import NewsConfig
from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.data.fields import (
    CANDIDATE_FEATURES,
    CANDIDATES,
    CLICK_COUNTERS,
    HISTORY,
    IMPRESSION_SIZE,
)
from recbole_tinynews.distillation.frozen_teachers import FrozenTeachers
from recbole_tinynews.encoder.column_tokenizer import pad_rows
from recbole_tinynews.encoder.news_encoder import NewsEncoder
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.quick_start import run
from recbole_tinynews.registry import find_model
from recbole_tinynews.serving.loading import load

CATEGORIES = ("category", "subcategory")
CASES: list[tuple[str, dict[str, Any]]] = [
    ("NAML", {}),
    ("NAML", {"views": ["body", "subcategory", "title"], "word_encoder": "self_attention"}),
    ("LSTUR", {}),
    ("LSTUR", {"user_combination": "con"}),
    ("CenNewsRec", {"recent_clicks": 2}),
    ("TANR", {}),
    ("Fastformer", {}),
    ("Fastformer", {"user_layers": 2, "word_encoder": "cnn"}),
    ("NPA", {}),
    ("NPA", {"news_encoder": "plm", "query_dim": 24}),
    ("MINER", {"context_codes": 3, "code_dim": 5}),
]


def known(model: NewsRecommender) -> NewsRecommender:
    """The model in double precision, all of it random but what stands for nothing."""
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            nn.init.normal_(parameter, std=0.25)
        if isinstance(module, nn.Embedding):
            module.weight.data[0] = 0
    return model.double().eval()


def reader_of(world: World) -> Reader:
    encoder = world.model.news_encoder
    views = world.config["views"]
    texts = [view for view in views if view not in CATEGORIES]
    tables = {view: encoder.views[view].tokens for view in texts} if len(views) > 1 else None
    tables = tables or {"title": encoder.tokens}
    return Reader(
        dict(world.model.named_parameters(remove_duplicate=False)),
        world.config,
        {view: [row.tolist() for row in rows_of(table)] for view, table in tables.items()},
        {name: world.train.item_feat[name].tolist() for name in CATEGORIES},
        None if world.config["news_encoder"] == "words" else plain_plm(world),
    )


def plain_plm(world: World) -> nn.Module:
    """Transformers' own model, with the weights of the one that is tested."""
    plm = AutoModel.from_pretrained(
        world.config["plm"],
        num_hidden_layers=world.config["num_hidden_layers"],
        attn_implementation="eager",
    )
    for name, parameter in world.model.news_encoder.text_encoder.plm.named_parameters():
        home, _, own = name.rpartition(".")
        setattr(plm.get_submodule(home), own, parameter)
    return plm.eval()


def rows_of(table: Any) -> list[Any]:
    return [table.values[table.offsets[n] : table.offsets[n + 1]] for n in range(table.rows)]


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_a_recommender_scores_and_learns_as_its_paper_says(tiny: Tiny, name: str, settings) -> None:
    """Of all that a table compares, a wrong equation would be the hardest to see."""
    world = tiny.world(name, **{"news_encoder": "words", **settings})
    model, reader = known(world.model), reader_of(world)
    batch = world.shown([0, 1, 2, 3, 4])  # an empty history, one candidate, and three others
    scores = model.predict(batch)
    shown = batch[CANDIDATES].split(batch[IMPRESSION_SIZE].tolist())
    rows = zip(batch[HISTORY], batch["user_id"], shown, strict=True)
    plain = torch.stack(
        [
            PLAIN[name](reader, int(user), [n for n in history.tolist() if n], news)
            for history, user, candidates in rows
            for news in candidates.tolist()
        ]
    )
    torch.testing.assert_close(scores, plain)
    assert_equal_gradients(model, scores, plain)


def assert_equal_gradients(model: NewsRecommender, scores: Tensor, plain: Tensor) -> None:
    """Both were made with the same weights; rows that stand for nothing learn nothing."""
    weights = torch.randn_like(scores)
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    found, expected = (
        torch.autograd.grad((each * weights).sum(), [*parameters.values()], allow_unused=True)
        for each in (scores, plain)
    )
    nothing = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    for (name, parameter), one, other in zip(parameters.items(), found, expected, strict=True):
        wanted = torch.zeros_like(parameter) if other is None else other
        if id(parameter) in nothing:
            wanted[0] = 0
        own = torch.zeros_like(parameter) if one is None else one
        torch.testing.assert_close(own, wanted, msg=lambda text, name=name: f"{name}: {text}")


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
            (batch[HISTORY], outputs.history),
            (batch[CANDIDATES], outputs.candidates),
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


def test_pprec_scores_and_learns_as_its_paper_says(tiny: Tiny) -> None:
    """Interest and popularity share no equation: either may be wrong while the other ranks."""
    world = tiny.world("PPRec")
    model, reader = known(world.model), reader_of(world)
    batch, random = world.shown([0, 1, 2, 3, 4]), np.random.default_rng(0)
    exposures = random.integers(1, 90, len(batch[CANDIDATES]))
    clicks, ages = random.binomial(exposures, 0.3), random.uniform(1, 1600, len(exposures))
    now = np.column_stack([ages, clicks, exposures])
    exposures = random.integers(0, 4, batch[HISTORY].shape) * 30  # 0: never exposed to others
    of_clicks = np.stack([random.binomial(exposures, 0.3), exposures], axis=-1).astype(float)
    batch[CANDIDATE_FEATURES], batch[CLICK_COUNTERS] = map(torch.from_numpy, (now, of_clicks))
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
    del batch.interaction[CANDIDATE_FEATURES], batch.interaction[CLICK_COUNTERS]
    user = model.encode_user(model.encode_news(batch[HISTORY]), batch[HISTORY] != 0)
    text = model.encode_news(batch[CANDIDATES]) * user.repeat_interleave(batch[IMPRESSION_SIZE], 0)
    torch.testing.assert_close(model.predict(batch), text.sum(-1))


def test_pprec_compares_each_click_with_each_negative(tiny: Tiny) -> None:
    world = tiny.world("PPRec")
    batch = world.clicks().collate_fn(range(5))
    (loss,), scores = world.model.eval().calculate_loss(batch), world.model.score(batch).scores
    pairs = [-torch.sigmoid(row[0] - other).log() for row in scores for other in row[1:]]
    torch.testing.assert_close(loss, torch.stack(pairs).mean())


def test_frozen_states_and_kept_vectors_change_nothing_for_users_of_tokens(tiny: Tiny) -> None:
    """A token under another's place would be a title that nobody has written."""
    kept, computed = (
        tiny.world("NPA", news_encoder="plm", use_cache=use_cache) for use_cache in (True, False)
    )
    batch = kept.clicks().collate_fn(range(8))
    losses, gradients = [], []
    for world in (kept, computed):
        (loss,) = world.model.train().calculate_loss(batch)
        loss.backward()
        losses.append(loss)
        gradients.append([p.grad for p in world.model.parameters() if p.requires_grad])
    assert kept.model.news_encoder._stored_states() is not None
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*gradients)


def test_pad_tokens_are_no_tokens_that_a_user_attends_to(tiny: Tiny) -> None:
    """A text with some at its end would have another vector than without."""
    world = tiny.world("NPA", news_encoder="plm")
    model, batch = known(world.model), world.shown([3, 4, 5])
    scores = model.predict(batch)
    encoder = model.news_encoder
    widths = np.full(encoder.tokens.rows, 9)
    tokens = pad_rows(encoder.tokens, widths, encoder.pad_token_id)
    model.news_encoder = encoder = NewsEncoder(encoder.text_encoder, tokens).eval()
    assert (encoder.tokens.values == encoder.pad_token_id).any()
    torch.testing.assert_close(model.predict(batch), scores)


def test_miner_compares_clicks_with_its_codes_once_a_step(tiny: Tiny) -> None:
    """Interests for candidates and those whatever the candidate share this, the dearest part."""
    world = tiny.world("MINER", news_encoder="words")
    calls: list[Any] = []
    world.model.user_encoder.poly_attention.projection.register_forward_hook(
        lambda *given: calls.append(given)
    )
    world.model.calculate_loss(world.clicked([*range(8)]))
    assert len(calls) == 1


@pytest.mark.parametrize("name", ["LSTUR", "NPA"])
def test_users_have_scores_of_their_own(tiny: Tiny, name: str) -> None:
    """Ids that never arrive would leave every user the unknown one, and no test would fail."""
    world = tiny.world(name)
    model, batch = known(world.model), world.shown([5])
    scores = []
    for user in (0, 1, 2):
        batch["user_id"][:] = user
        scores.append(model.predict(batch))
    assert not torch.allclose(scores[0], scores[1])
    assert not torch.allclose(scores[1], scores[2])


@pytest.mark.parametrize(
    ("name", "settings"),
    [*((name, {}) for name in (*PLAIN, "PPRec")), ("NPA", {"news_encoder": "plm"})],
)
def test_a_recommender_learns_from_teachers_too(tiny: Tiny, name: str, settings) -> None:
    """Its own second loss would be lost, or one of the parts left without a gradient."""
    given = {"head_init": "random", **OWN_SETTINGS.get(name, {}), **settings}
    world = tiny.world(student_of(name), **PLM_TEACHERS, **given)
    assert isinstance(world.model, find_model(name))
    batch = world.clicked([*range(8)])
    losses = world.model.train().calculate_loss(batch)
    second = {"TANR": ["topic"], "MINER": ["disagreement"]}.get(name, [])
    assert {"distillation", "embedding", "target", *second} <= {*losses._fields}
    sum(losses).backward()
    shifts = re.compile(
        r"(pooling|attention|combination)\.query\.bias$|self\.key\.bias$"
    )  # no score
    named = world.model.named_parameters()
    trained = {key: p for key, p in named if p.requires_grad and not shifts.search(key)}
    assert [
        key for key, p in trained.items() if p.grad is None or not p.grad.isfinite().all()
    ] == []
    assert world.model.counted_by.get("topic") == ("articles" if name == "TANR" else None)


@pytest.mark.parametrize(
    ("name", "settings"),
    [*((name, {}) for name in (*PLAIN, "PPRec")), ("NPA", {"news_encoder": "plm"})],
)
def test_a_recommender_is_a_teacher_too(tiny: Tiny, name: str, settings) -> None:
    """Labels that are not its scores would teach something else."""
    world = tiny.world(name, **settings)
    model, batch = world.model, world.clicks().collate_fn(range(8))
    (labels,) = FrozenTeachers([model]).outputs(batch)
    torch.testing.assert_close(labels.scores, model.score(batch).scores)


def folder_of(tiny: Tiny, name: str, place: Path) -> Path:
    """The folder of a recommender that was trained for a few steps."""
    given = {"checkpoint_dir": str(place), "max_steps": 2}
    result = run(name, DATASET, config_dict={**tiny.settings(name), **given})
    (made,) = result["stages"]
    return place / DATASET / f"{made['name']}-{made['fingerprint']}"


@pytest.mark.parametrize("name", ["CenNewsRec", "Fastformer", "PPRec"])
def test_a_recommender_of_titles_is_served(tiny: Tiny, tmp_path: Path, name: str) -> None:
    """A setting that is not kept with the weights would build another one."""
    ranker = load(folder_of(tiny, name, tmp_path))
    ranked = ranker.rank(["word1 word2"], ["word3 unheard of", "word4 word5"], ids=False)
    assert len({each.score for each in ranked}) == 2


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("LSTUR", "is a LSTUR, which knows users by their ids in its data set"),
        ("NPA", "is a NPA, which knows users by their ids in its data set"),
        ("MINER", "is a MINER, which looks articles up by their ids in its data set"),
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
        (
            "NPA",
            {"news_encoder": "plm", "news_pooling": "cls"},
            r"^stage_news_pooling expects mean in NPA.*got cls. Leave stage_news_pooling out$",
        ),
        (
            "NPA",
            {"news_encoder": "plm", "head_init": "pretrained"},
            r"^stage_head_init expects random in NPA",
        ),
        (
            "NPA",
            {"news_encoder": "plm", "mask_padding_in_news_pooling": False},
            r"^stage_mask_padding_in_news_pooling expects True in NPA",
        ),
        (
            "CenNewsRec",
            {"word_encoder": "self_attention"},
            r"^stage_word_encoder expects cnn in CenNewsRec.*got self_attention",
        ),
        (
            "CenNewsRec",
            {"head_dim": 5},
            r"stage_news_dim expects a multiple of stage_head_dim=5.*got 16",
        ),
        (
            "LSTUR",
            {"user_combination": "con", "news_dim": 15},
            r"stage_user_combination=con expects news vectors of an even size in LSTUR, got 215",
        ),
    ],
)
def test_settings_that_do_not_fit_are_found_before_training(
    tiny: Tiny, name: str, settings: dict[str, Any], message: str
) -> None:
    fitting, config = tiny.config(name), tiny.config(name, **settings)
    assert [*fitting.model_class.conflicting_settings(fitting, "")] == []
    (mistake,) = config.model_class.conflicting_settings(config, "stage_")
    assert re.search(message, mistake)


# ------------------------------------------------------------------------------------------ sizes

PAPER_SIZES = ("news_dim", "query_dim")
WORDS, USERS, CATEGORY_IDS = 52, 8, 4  # of the tiny data set, with padding and unknown ones


def at_paper_size(tiny: Tiny, name: str, **settings: Any) -> NewsRecommender:
    """The model with the sizes of its yaml, and word vectors."""
    small = {key: value for key, value in SETTINGS.items() if key not in PAPER_SIZES}
    places = {"plm": str(tiny.plm), "data_path": str(tiny.data), "news_encoder": "words"}
    config = NewsConfig(name, DATASET, config_dict={**small, **places, **settings})
    return config.model_class(config, NewsDataset(config).build()[0])


def cnn(filters: int) -> int:
    return 3 * 300 * filters + filters


def pooling(dim: int) -> int:
    return 200 * dim + 200 + 200 + 1


def gru(inputs: int, size: int) -> int:
    return 3 * (inputs * size + size * size + 2 * size)


def dense(*sizes: int) -> int:
    return sum(inputs * outputs + outputs for inputs, outputs in pairwise(sizes))


WORD_VECTORS = WORDS * 300
SIZES: list[tuple[str, dict[str, Any], int]] = [
    (
        "NAML",
        {},
        WORD_VECTORS
        + 2 * (cnn(400) + pooling(400))  # title and abstract
        + 2 * (CATEGORY_IDS * 100 + 100 * 400 + 400)  # category and subcategory
        + pooling(400)  # of views
        + (pooling(400) + 400),  # of clicks; the vector of a user without any
    ),
    (
        "LSTUR",
        {},
        WORD_VECTORS
        + (cnn(300) + pooling(300))
        + 2 * CATEGORY_IDS * 100
        + (USERS * 500 + gru(500, 500) + 500),
    ),
    (
        "LSTUR",
        {"user_combination": "con"},
        WORD_VECTORS
        + (cnn(300) + pooling(300))
        + 2 * CATEGORY_IDS * 100
        + (USERS * 250 + gru(500, 250) + 500),
    ),
    (
        "CenNewsRec",
        {},
        WORD_VECTORS
        + (cnn(400) + 3 * 400 * 400 + pooling(400))
        + (3 * 400 * 400 + pooling(400) + gru(400, 400) + pooling(400) + 400),
    ),
    ("TANR", {}, WORD_VECTORS + cnn(400) + 2 * pooling(400) + 400),
    (
        "Fastformer",
        {},
        WORD_VECTORS
        + (3 * 300 * 256 + pooling(256))
        + (3 * (256 * 256 + 256) + 2 * 256 + pooling(256) + 256),
    ),
    (
        "NPA",
        {},
        WORD_VECTORS + cnn(400) + USERS * 50 + 2 * (50 * 200 + 200 + 200 * 400 + 400) + 400,
    ),
    (
        "MINER",
        {},
        WORD_VECTORS
        + (3 * 300 * 256 + pooling(256))
        + (256 * 200 + 32 * 200)  # W and the context codes
        + (256 * 256 + 256)  # weights of interests
        + (CATEGORY_IDS * 300 + 1)  # categories and lambda
        + 256,
    ),
    (
        "PPRec",
        {},
        WORD_VECTORS
        + (3 * 300 * 400 + pooling(400))
        + (3 * 400 * 400 + 201 * 100 + pooling(500) + 400)
        + 1500 * 100  # hours of age
        + dense(400, 256, 256, 128, 1)
        + dense(100, 64, 64, 1)
        + dense(500, 128, 64, 1)
        + dense(400, 64, 1)
        + 2,
    ),
]


@pytest.mark.parametrize(("name", "settings", "expected"), SIZES)
def test_a_recommender_is_as_large_as_counted_by_hand(tiny: Tiny, name, settings, expected) -> None:
    """At the sizes of the papers, which its yaml has."""
    assert at_paper_size(tiny, name, **settings).parameter_count == expected
