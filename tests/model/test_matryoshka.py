"""Several sizes of one student: what is served is what was trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import HIDDEN, Tiny, World, titles
from torch import Tensor

from recbole_tinynews.export.exporting import export
from recbole_tinynews.model.alignednewsrec import AlignedNewsRec
from recbole_tinynews.model.matryoshka import of_layers
from recbole_tinynews.pipeline.systems import system
from recbole_tinynews.serving.exported import load_export
from recbole_tinynews.serving.loading import load

LAYERS, DIMS = (1, 2, 3), (8, 20, HIDDEN)
WHOLE = {"num_hidden_layers": 3, "news_dim": HIDDEN, "finetune_layers": "all"}
SIZES = {"matryoshka_layers": [1, 2], "matryoshka_dims": [8, 20]}


def started(tiny: Tiny, **settings: object) -> World:
    """A student before its first step, with random weights in its user encoder and exits."""
    world = tiny.world("AlignedNewsRec", **{**WHOLE, **SIZES, **settings})
    torch.manual_seed(4)
    heads = world.model.news_encoder.text_encoder.exit_heads
    for parameter in (*world.model.user_encoder.parameters(), *heads.parameters()):
        parameter.data.add_(torch.randn_like(parameter), alpha=0.3)
    return world


def of_size(tiny: Tiny, whole: AlignedNewsRec, layers: int, dim: int) -> AlignedNewsRec:
    """A student of this one size with the same weights."""
    small = tiny.world("AlignedNewsRec", **WHOLE | {"num_hidden_layers": layers}).model
    weights = of_layers(whole.state_dict(), layers)
    small.load_state_dict({name: weights[name] for name in small.state_dict()})
    small.cut_vectors(dim)
    small.rotation = whole.rotation
    return small


def padded(part: Tensor, whole: Tensor) -> Tensor:
    """A part's gradient as that of the whole weight."""
    made = torch.zeros_like(whole)
    made[tuple(slice(size) for size in part.shape)] = part
    return made


def test_losses_and_gradients_are_the_plain_sums_over_students_of_each_size(tiny: Tiny) -> None:
    """Served at a size, a student would give what no loss has seen."""
    world = started(tiny)
    batch, whole = world.clicked([0, 1, 2, 3, 4]), world.model.train()
    whole.start_distillation([*world.teachers().members], world.train)
    losses = whole.calculate_loss(batch)
    sum(losses).backward()
    total = dict.fromkeys(losses._fields, 0.0)
    gradients = {name: torch.zeros_like(value) for name, value in whole.named_parameters()}
    for layers in LAYERS:
        for dim in DIMS:
            small = of_size(tiny, whole, layers, dim).train()
            each = small.calculate_loss(batch)
            sum(each).backward()
            for name, loss in each._asdict().items():
                total[name] += loss.item()
            for name, value in small.named_parameters():
                if value.grad is not None:
                    own = name.replace(".text_encoder.", f".text_encoder.exit_heads.{layers}.")
                    of_whole = gradients[own if own in gradients else name]
                    of_whole += padded(value.grad, of_whole)
    found = {name: loss.item() for name, loss in losses._asdict().items()}
    assert found == pytest.approx(total, rel=1e-5)
    for name, value in whole.named_parameters():
        gradient = torch.zeros_like(value) if value.grad is None else value.grad
        torch.testing.assert_close(gradient, gradients[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("news_dim", [HIDDEN, 20])
def test_each_depth_starts_as_a_student_of_that_depth(news_dim: int, tiny: Tiny) -> None:
    """Centred on the states of all layers, vectors of fewer would start far from the teacher."""
    given = {**WHOLE, "news_dim": news_dim}
    encoder = tiny.world("AlignedNewsRec", **given | SIZES).model.news_encoder.text_encoder
    for layers in LAYERS:
        small = tiny.world("AlignedNewsRec", **given | {"num_hidden_layers": layers}).model
        started = encoder._heads_at(layers)["dense"].state_dict()
        own = small.news_encoder.text_encoder.dense.state_dict()
        torch.testing.assert_close(started, own)


def test_new_axes_change_no_score_and_put_the_most_into_the_first_entries(tiny: Tiny) -> None:
    """The first entries of a language model's vectors are no better than any others."""
    world, shown = started(tiny), [0, 1, 2]
    whole, teachers = world.model.eval(), [*world.teachers().members]
    news = world.train.training_news()
    encoder, ids = whole.news_encoder, torch.from_numpy(news)

    def after_each() -> Tensor:
        vectors = []
        for layers in LAYERS:
            with encoder.text_encoder.encoding_at(layers):
                vectors.append(encoder.encode_distinct(news))
        return torch.stack(vectors)

    with torch.no_grad():
        before, vectors_before = whole.predict(world.shown(shown)), after_each()
        whole.start_distillation(teachers, world.train)
        after = whole.predict(world.shown(shown))
        torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-4)
        rotated = vectors_before @ whole.rotation.axes.T
        torch.testing.assert_close(after_each(), rotated, rtol=1e-4, atol=1e-4)
        vectors = sum(each.encode_news(ids) for each in teachers)
    share = (vectors @ whole.rotation.axes.T).square().sum(0)
    assert (share.diff() <= 1e-4 * share[0]).all()
    assert share[:8].sum() > 1.2 * vectors.square().sum(0)[:8].sum()
    axes = whole.rotation.axes.clone()
    whole.start_distillation(teachers[:1], world.train)  # as in the stage after
    assert torch.equal(axes, whole.rotation.axes)


@pytest.fixture(scope="module")
def folder(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student of two stages, with other sizes than the whole."""
    place = tmp_path_factory.mktemp("sizes")
    given = {**WHOLE, **SIZES, "max_steps": 3, "checkpoint_dir": str(place), "learning_rate": 1e-2}
    run = tiny.run("AlignedNewsRec", **given)
    return run.make(system(run.factory.config)).folder


def test_every_size_of_an_artifact_is_loaded_as_it_was_trained(folder: Path) -> None:
    """Of both stages, the second of which takes the axes over from the first."""
    columns = {"title": titles()[1:]}
    whole = load(folder).engine.model.train()
    after_each = whole.news_encoder.encode_texts(columns).split(HIDDEN, dim=-1)
    rows = torch.arange(1, 6).repeat(2, 1)
    clicked = torch.tensor([[False] * 5, [False, True, True, True, True]])
    seen = set()
    for layers, vectors in zip(LAYERS, after_each, strict=True):
        for dim in DIMS:
            engine = load(folder, layers=layers, dim=dim).engine
            prefix = torch.nn.functional.normalize(vectors[:, :dim], dim=-1)
            torch.testing.assert_close(engine.encode(columns), prefix)
            with torch.no_grad():
                want = whole._encode_users(prefix[rows], clicked, None)
            given = torch.cat([torch.zeros(1, dim), prefix]), torch.where(clicked, rows + 1, 0)
            torch.testing.assert_close(engine.user_vectors(*given), want)
            seen.add(engine.identity)
    assert len(seen) == len(LAYERS) * len(DIMS)
    assert {load(folder, dim=8).engine.identity, load(folder, layers=1).engine.identity} < seen


def test_a_size_ranks_and_is_exported(folder: Path, tmp_path: Path) -> None:
    ranker = load(folder, layers=1, dim=8)
    ranker.add_news({"A1": "word1 word2", "A2": "word3"})
    assert len(ranker.top([{"title": "word4 word5"}], 2)) == 2
    export(folder, "hf", tmp_path / "out", layers=1, dim=8)
    columns = {"title": titles()[1:]}
    exported = load_export(tmp_path / "out").encode(columns)
    torch.testing.assert_close(exported, ranker.engine.encode(columns), rtol=0, atol=1e-5)
    assert exported.shape[1] == 8
    with pytest.raises(ValueError, match="one size"):
        load(tmp_path / "out", dim=8)


@pytest.mark.parametrize("size", [{"layers": 4}, {"layers": 0}, {"dim": 9}, {"dim": 64}])
def test_a_size_without_a_loss_is_refused(size: dict[str, int], folder: Path) -> None:
    """It would rank, and worse than anyone measured."""
    (name,) = size
    trained = {"layers": "1, 2, 3", "dim": "8, 20, 32"}[name]
    with pytest.raises(ValueError, match=f"expects {name} in {trained}"):
        load(folder, **size)


@pytest.mark.parametrize(
    ("settings", "mistake"),
    [
        ({"finetune_layers": 1}, "finetune_layers=all"),
        ({"matryoshka_dims": [HIDDEN + 1]}, "up to news_dim"),
        ({"user_encoder": "self_attention"}, "self_attention"),
        ({"align_student_matryoshka_dims": []}, "in both"),
        ({"align_student_matryoshka_layers": [1]}, "in both"),
    ],
)
def test_sizes_that_cannot_be_trained_are_refused_before_the_teachers(
    settings: dict, mistake: str, tiny: Tiny
) -> None:
    with pytest.raises(ValueError, match=mistake):
        system(tiny.config("AlignedNewsRec", **WHOLE | SIZES | settings))
