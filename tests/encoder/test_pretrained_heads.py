"""Heads that start pretrained: an untrained recommender ranks by its language model's cosines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny import HIDDEN, LAYERS, NEWS, Tiny, World, finished, scalars, titles
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModel, AutoTokenizer

from recbole_tinynews.data.fields import CANDIDATES, HISTORY, IMPRESSION_SIZE
from recbole_tinynews.encoder.one_text import DENSE
from recbole_tinynews.encoder.pooling import UnitDense
from recbole_tinynews.encoder.users import UserEncoder
from recbole_tinynews.files.tensors import load_weights
from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.pipeline.artifact import WEIGHTS

ROWS = [0, 1, 2, 3, 4, 5, 6]  # an empty history, one candidate, and five others


def started(tiny: Tiny, **settings: Any) -> World:
    world = tiny.world("PLMNR", head_init="pretrained", **settings)
    world.model.eval().double()
    return world


def mean_states(tiny: Tiny, layers: int, prefix: str = "") -> Tensor:
    """Each article's mean of token states, one title at a time; row 0 is padding."""
    plm = AutoModel.from_pretrained(tiny.plm, num_hidden_layers=layers).double().eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny.plm)
    rows = [torch.zeros(HIDDEN, dtype=torch.float64)]
    for title in titles():
        tokens = tokenizer(prefix + title, truncation=True, max_length=12, return_tensors="pt")
        with torch.no_grad():
            rows.append(plm(input_ids=tokens["input_ids"]).last_hidden_state[0].mean(0))
    return torch.stack(rows)


def cosines(world: World, vectors: Tensor) -> Tensor:
    """Cosine of each candidate with the mean of the clicked unit vectors, times its length."""
    batch = world.shown(ROWS)
    vectors = F.normalize(vectors, dim=-1)
    users = []
    for history in batch[HISTORY]:
        clicked = history[history != 0]
        users.append(vectors[clicked].mean(0) if len(clicked) else torch.zeros_like(vectors[0]))
    of_candidate = np.repeat(np.arange(len(users)), batch[IMPRESSION_SIZE])
    return (vectors[batch[CANDIDATES]] * torch.stack(users)[of_candidate]).sum(-1)


@torch.no_grad()
def scores(world: World) -> Tensor:
    return world.model.predict(world.shown(ROWS)) / world.model.user_encoder.scale


def news_of_training(world: World) -> list[int]:
    shown = world.train.inter_feat
    return sorted({*shown.history.values.tolist(), *shown.candidates.values.tolist()})


@pytest.mark.parametrize("kind", ["attention", "self_attention"])
@pytest.mark.parametrize("layers", [1, LAYERS])
@pytest.mark.parametrize("news_dim", [HIDDEN, HIDDEN + 16])
def test_training_does_not_start_from_another_ranking_than_the_language_models(
    tiny: Tiny, news_dim: int, layers: int, kind: str
) -> None:
    world = started(tiny, news_dim=news_dim, num_hidden_layers=layers, user_encoder=kind)
    states = mean_states(tiny, layers)
    centre = states[news_of_training(world)].mean(0)
    torch.testing.assert_close(scores(world), cosines(world, states - centre), rtol=0, atol=1e-6)


@pytest.mark.parametrize("prefix", ["", "word7 "])
def test_without_centring_a_score_is_the_cosine_of_the_texts_that_are_read(
    tiny: Tiny, prefix: str
) -> None:
    world = started(tiny, news_dim=HIDDEN, centred=False, text_prefix=prefix)
    expected = cosines(world, mean_states(tiny, 2, prefix))
    torch.testing.assert_close(scores(world), expected, rtol=0, atol=1e-6)


def test_small_vectors_lie_on_the_principal_axes_of_the_training_news(tiny: Tiny) -> None:
    world = started(tiny, news_dim=5)
    states = mean_states(tiny, 2)
    known = states[news_of_training(world)]
    _, _, axes = np.linalg.svd((known - known.mean(0)).numpy())  # an independent way to them
    expected = cosines(world, (states - known.mean(0)) @ torch.from_numpy(axes[:5].T))
    torch.testing.assert_close(scores(world), expected, rtol=0, atol=1e-6)


def test_a_users_vector_is_not_normalised_away_by_empty_slots() -> None:
    encoder = UserEncoder(4, 3, "attention", starts_as_mean=True)
    history = torch.tensor([[[0.0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]]])
    user = encoder(history, torch.tensor([[False, True, True]]))
    torch.testing.assert_close(user, encoder.scale * torch.tensor([[0.5, 0.5, 0, 0]]))


def test_a_forgotten_start_is_seen_at_once(tiny: Tiny) -> None:
    world = tiny.world("PLMNR", head_init="pretrained")
    forgotten = PLMNR(world.config, world.train).eval()
    with torch.no_grad():
        assert forgotten.predict(world.shown(ROWS)).isnan().all()


def test_a_later_stage_keeps_the_heads_of_an_earlier_one(tiny: Tiny) -> None:
    """Centring anew on changed layers would undo what post-training has learnt."""
    run = tiny.run("PLMNRDP", head_init="pretrained", learning_rate=1e-60)
    from recbole_tinynews.pipeline.systems import system

    run.make(system(run.factory.config))
    before, after = (load_weights(each.folder / WEIGHTS) for each in finished(run))
    for name in ("weight", "bias", "centre"):
        torch.testing.assert_close(before[f"{DENSE}.{name}"], after[f"{DENSE}.{name}"])


SYSTEMS = ["TinyNewsRec", "NewsBERT", "MTBERT"]


@pytest.mark.parametrize("system_name", SYSTEMS)
def test_students_start_pretrained_too(tiny: Tiny, system_name: str) -> None:
    from recbole_tinynews.pipeline.systems import system

    run = tiny.run(system_name, head_init="pretrained", news_dim=HIDDEN)
    run.make(system(run.factory.config))
    for artifact in finished(run):
        weights = load_weights(artifact.folder / WEIGHTS)
        assert all(value.isfinite().all() for value in weights.values()), artifact.name
        assert f"{DENSE}.centre" in weights


def test_axes_do_not_depend_on_the_order_of_texts() -> None:
    vectors = torch.randn(NEWS, 6, generator=torch.Generator().manual_seed(0))
    layers = [UnitDense(6, 3), UnitDense(6, 3)]
    for layer, texts in zip(layers, (vectors, vectors.flip(0)), strict=True):
        layer.start(texts.split(4), centred=True)
    torch.testing.assert_close(layers[0].weight, layers[1].weight)


def test_the_baseline_without_training_is_the_start_of_training(tiny: Tiny) -> None:
    """PLM-NR of the same depth, centring and history length; whatever its ``news_dim`` says."""
    baseline = tiny.world("ZeroShotPLM")
    trained = tiny.world("PLMNR", head_init="pretrained", news_dim=HIDDEN + 3)
    for world in (baseline, trained):
        world.model.eval()
    torch.testing.assert_close(scores(baseline), scores(trained), rtol=0, atol=1e-6)
    assert not any(p.requires_grad for p in baseline.model.parameters())


def test_an_aligned_student_has_its_teachers_user_encoder_and_comes_closer_to_them(
    tiny: Tiny,
) -> None:
    """With a user encoder of its own, the directions that it imitates would mean something else."""
    from recbole_tinynews.pipeline.systems import system

    run = tiny.run("AlignedNewsRec", news_dim=HIDDEN, align_student_max_steps=40)
    run.make(system(run.factory.config))
    weights = {each.name: load_weights(each.folder / WEIGHTS) for each in reversed(finished(run))}
    teacher, aligned = weights["finetune_teacher"], weights["align_student"]
    for name in (name for name in teacher if name.startswith("user_encoder.")):
        torch.testing.assert_close(aligned[name], teacher[name])
    (folder,) = (each.folder for each in finished(run) if each.name == "align_student")
    losses = scalars(folder / "tensorboard")["align_student/train/embedding_loss"]
    assert losses[-1][1] < 0.9 * losses[0][1]
