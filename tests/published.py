"""Recommenders of papers against plain versions of them, for tests of all rooms that have some."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from plain_recommenders import PLAIN, Reader
from tiny import DATASET, OWN_SETTINGS, PLM_TEACHERS, SETTINGS, Tiny, World, student_of
from torch import Tensor, nn
from transformers import AutoModel

from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.data.fields import CANDIDATES, HISTORY, IMPRESSION_SIZE
from recbole_tinynews.distillation.teachers import FrozenTeachers
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.pipeline.config import NewsConfig
from recbole_tinynews.pipeline.quick_start import run
from recbole_tinynews.settings.registry import find_model

CATEGORIES = ("category", "subcategory")


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


def assert_as_in_its_paper(tiny: Tiny, name: str, settings: dict[str, Any]) -> None:
    """Scores and gradients are those of the paper's equations."""
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


def assert_learns_from_teachers(
    tiny: Tiny, name: str, settings: dict[str, Any], *second: str
) -> NewsRecommender:
    """Its losses, among them its ``second``, reach all of its parts; returns the student."""
    given = {"head_init": "random", **OWN_SETTINGS.get(name, {}), **settings}
    world = tiny.world(student_of(name), **PLM_TEACHERS, **given)
    assert isinstance(world.model, find_model(name))
    batch = world.clicked([*range(8)])
    losses = world.model.train().calculate_loss(batch)
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
    return world.model


def assert_is_a_teacher(tiny: Tiny, name: str, settings: dict[str, Any]) -> None:
    """Its labels are its scores."""
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


def assert_refused(tiny: Tiny, name: str, settings: dict[str, Any], message: str) -> None:
    """These settings have one mistake, and the defaults none."""
    fitting, config = tiny.config(name), tiny.config(name, **settings)
    assert [*fitting.model_class.conflicting_settings(fitting, "")] == []
    (mistake,) = config.model_class.conflicting_settings(config, "stage_")
    assert re.search(message, mistake)


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
