"""``recbole-tinynews update``: a finished recommender on newer clicks, and its versions."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import DATASET, Tiny, run_of, status_of
from torch.nn import functional as F

from recbole_tinynews.data.dataloader import ClickDataLoader
from recbole_tinynews.data.fields import TEACHERS
from recbole_tinynews.distillation.teachers import FrozenTeachers
from recbole_tinynews.files.tensors import load_weights
from recbole_tinynews.model.alignednewsrec import AlignedNewsRec
from recbole_tinynews.model.stages.updated import updated
from recbole_tinynews.model.time_features import PASSES, START_RATE, TimeScore
from recbole_tinynews.pipeline import update as module
from recbole_tinynews.pipeline.artifact import WEIGHTS, read_metrics, read_settings
from recbole_tinynews.pipeline.systems import system
from recbole_tinynews.pipeline.update import Update, main, rollback, switch, update
from recbole_tinynews.serving.loading import load
from recbole_tinynews.trainer.news_trainer import NewsTrainer

pytestmark = pytest.mark.whole

NEWER = 1573000020  # half of the training impressions
QUIET = ("--use_gpu=False", "--show_progress=False", "--use_cache=False")
COUNTING = {"popularity": "added", "finetune_teacher_popularity": "none"}


@pytest.fixture(scope="module")
def finished(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished student with popularity; copy it before writing to it."""
    folder = tmp_path_factory.mktemp("finished")
    config = tiny.config("AlignedNewsRec", checkpoint_dir=str(folder), num_teachers=1, **COUNTING)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return run_of(config).make(system(config)).folder


@pytest.fixture
def link(finished: Path, tmp_path: Path) -> Path:
    (tmp_path / "current").symlink_to(finished)
    return tmp_path / "current"


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("PLMNR", {}),
        ("TinyNewsRec", {}),
        ("TinyBERT", {}),
        ("MTBERT", {}),
        ("NewsBERT", {}),
        ("PPRec", {"news_encoder": "plm"}),
        ("AlignedNewsRec", COUNTING),
        ("AlignedNewsRec", {"matryoshka_dims": [4, 8], "matryoshka_layers": [1]}),
    ],
)
def test_a_recommender_that_has_not_moved_is_pulled_nowhere(
    tiny: Tiny, name: str, chosen: dict[str, Any]
) -> None:
    """Losses of another space, size or layer would make it forget at the first step."""
    if "matryoshka_dims" in chosen:
        chosen = {**chosen, "align_student_matryoshka_dims": chosen["matryoshka_dims"]}
    world = tiny.world(name, **chosen)
    model = updated(type(world.model))(world.config, world.train)
    weights = world.model.state_dict()
    if name == "AlignedNewsRec" and world.config["matryoshka_dims"]:
        weights["rotation.axes"] = torch.eye(world.config["news_dim"])
    model.load_state_dict(weights)
    old = FrozenTeachers([world.model])
    batch = world.clicks().collate_fn([*range(8)])
    batch[TEACHERS] = old.outputs(batch)
    model.eval()
    losses: Any = model.calculate_loss(batch)
    sizes = 1 if not world.config["matryoshka_dims"] else 3 * 2
    assert set(losses._fields) == {"distillation", "embedding", "target"}
    learnt = [each for each in model.parameters() if each.requires_grad]
    memory, target = (
        torch.autograd.grad(loss, learnt, retain_graph=True, allow_unused=True)
        for loss in (losses.distillation + losses.embedding, losses.target)
    )
    pull, push = (sum(float(g.norm()) for g in each if g is not None) for each in (memory, target))
    assert push > 1e-2
    if sizes == 1:  # fewer layers still come nearer to all
        assert losses.embedding.item() == pytest.approx(0, abs=1e-5)
        assert pull < 1e-3 * push


def test_an_update_learns_from_newer_clicks_alone_and_counts_all(tiny: Tiny) -> None:
    """It would learn again what it knows, or its counters would begin at zero each night."""
    worlds = tiny.world(popularity="added"), tiny.world(popularity="added", train_since=NEWER)
    whole, newer = (ClickDataLoader(world.config, world.train) for world in worlds)
    stamps = whole.impressions.timestamp[whole.clicks.impression]
    np.testing.assert_array_equal(newer.clicks.position, whole.clicks.position[stamps >= NEWER])
    batch = newer.collate_samples(np.arange(newer.sample_size))
    assert batch["timestamp"].min() == NEWER
    of_whole = whole.impressions.features, newer.impressions.features
    np.testing.assert_array_equal(*(each.values for each in of_whole))
    shown = {*batch["candidates"].flatten().tolist(), *batch["history"].flatten().tolist()}
    assert shown - {0} <= {*newer.news_ids().tolist()} < {*whole.news_ids().tolist()}


def test_an_update_fits_popularity_to_all_clicks_again(
    tiny: Tiny, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else they rank by the rates of weeks ago, or are forgotten; the rest begins as learnt."""
    monkeypatch.delattr(TimeScore, "start")
    how = (*QUIET, "--epochs=0", "--checkpoint_dir=untrained")
    done = update(finished, tiny.data / DATASET, how, since=NEWER)
    before, after = (load_weights(folder / WEIGHTS) for folder in (finished, done.folder))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    layers = {name for name in before if name.startswith("time.layers.")}
    assert len(layers) == 11
    assert moved == {"time.text_weight", "time.rising_weights", "time.weights", *layers}


def test_fitting_again_lowers_the_loss_from_where_it_is() -> None:
    """One that began anew would forget what earlier impressions taught, or never improve."""
    torch.manual_seed(1)
    counters = torch.rand(4000, 11) * 9
    text, offsets = torch.randn(4000), torch.arange(0, 4001, 8)
    logits = 2 * counters[:, 1].log1p() + text
    best = torch.stack([rows.argmax() for rows in logits.split(8)]) + offsets[:-1]
    labels = torch.zeros(4000).index_fill(0, best, 1)
    term = TimeScore(3, 2, 4)
    term.start(torch.randn(4000), counters.flip(0), labels, offsets)

    def loss() -> float:
        scores = term(text, counters, text, text).view(-1, 8)
        return float(F.cross_entropy(scores, labels.view(-1, 8).argmax(1)).detach())

    losses = [loss()]
    for _ in range(2):
        term.fit_again(text, counters, labels, offsets)
        losses.append(loss())
    assert losses[0] > losses[1] > losses[2]
    assert losses[2] < 0.95 * losses[0]
    scale = term.features.mean.clone()
    term.fit_again(text, counters * 5, labels, offsets)
    assert torch.equal(term.features.mean, scale)
    only_clicks = term.weights.detach().clone()
    term.fit_again(text, counters, torch.ones(4000), offsets)
    assert torch.equal(term.weights, only_clicks)
    shallow = TimeScore(3, 2, 0)  # has no hidden layer, and two impressions to overfit
    shallow.fit_again(text[:4], counters[:4], torch.eye(2).flatten(), torch.tensor([0, 2, 4]))
    assert 0 < shallow.weights.abs().max() <= 1.1 * PASSES * START_RATE


def test_an_update_goes_from_link_to_link_and_back(
    tiny: Tiny, link: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command, as a night would run it: update, serve, update again, and roll back."""
    place = f"--data={tiny.data / DATASET}"
    base = ["--from", str(link), place, *QUIET]
    assert status_of(main, [*base, "--since", str(NEWER), "--epochs=1"]) in (0, 3)
    said = capsys.readouterr().out
    assert "in use: auc" in said
    assert "updated: auc" in said
    (made,) = Path("saved", DATASET).glob("AlignedNewsRec-*")
    kept = load_weights(finished / WEIGHTS), load_weights(made / WEIGHTS)
    assert kept[0].keys() <= kept[1].keys()
    assert any(not torch.equal(kept[0][name], kept[1][name]) for name in kept[0])
    assert read_settings(made)["train_since"] == NEWER
    assert read_metrics(made)["newest"] == 1573000039
    ranked = load(made).rank(["word1"], ["word2", "word3"])
    assert len(ranked) == 2
    switch(link, made)
    switch(link, finished)
    assert status_of(main, ["--from", str(link), "--rollback"]) == 0
    assert link.resolve() == made.resolve()


def test_updates_of_updates_learn_at_one_rate_and_train_no_recommender_in_use(
    tiny: Tiny, finished: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A third of the last night's rate would be nothing after two weeks."""
    caplog.set_level("INFO")
    how = (*QUIET, "--max_steps=1", "--checkpoint_dir=nights", "--fresh=True")
    first = update(finished, tiny.data / DATASET, how, since=NEWER).folder
    (line,) = (line for line in caplog.text.splitlines() if line.startswith("in_use "))
    assert "reused" in line
    second = update(first, tiny.data / DATASET, how, since=NEWER).folder
    rates = [read_settings(each)["learning_rate"] for each in (finished, first, second)]
    assert rates == pytest.approx([rates[0], rates[0] / 3, rates[0] / 3])


@pytest.mark.parametrize(
    ("bigger", "after", "status"), [(True, 0.6, 3), (False, 0.8, 3), (False, 0.6, 0)]
)
def test_a_worse_update_is_refused_with_figures(
    tiny: Tiny, link: Path, finished: Path, capsys, monkeypatch, bigger: bool, after: float, status
) -> None:
    """A night of broken logs would replace a good recommender. Of errors the smaller is better."""
    monkeypatch.setattr("recbole_tinynews.pipeline.config.bigger_is_better", lambda _: bigger)
    figures = iter([{"auc": 0.7}, {"auc": after}])
    monkeypatch.setattr(module, "_metrics", lambda *_: next(figures))
    asked = ["--from", str(link), f"--data={tiny.data / DATASET}", f"--since={NEWER}"]
    assert main([*asked, *QUIET, "--max_steps=1"]) == status
    said = capsys.readouterr()
    assert "auc 0.7000" in said.out
    assert ("is worse" in said.err) is bool(status)
    assert (link.resolve() == finished.resolve()) is bool(status)


def test_a_stopped_update_is_resumed_with_equal_weights(
    tiny: Tiny, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs at night, and a machine that is restarted would leave yesterday's model."""
    given = finished, tiny.data / DATASET
    how = (*QUIET, "--save_steps=1", "--train_batch_size=4")
    whole = update(*given, [*how, "--checkpoint_dir=whole"], since=NEWER)
    saved, plain = [], NewsTrainer._save_state

    def stopped(trainer: NewsTrainer) -> None:
        plain(trainer)
        saved.append(trainer)
        if len(saved) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(NewsTrainer, "_save_state", stopped)
        with pytest.raises(KeyboardInterrupt, match="up to step"):
            update(*given, [*how, "--checkpoint_dir=resumed"], since=NEWER)
    resumed = update(*given, [*how, "--checkpoint_dir=resumed"], since=NEWER)
    assert whole.folder.name == resumed.folder.name
    weights = [load_weights(each.folder / WEIGHTS) for each in (whole, resumed)]
    torch.testing.assert_close(*weights, rtol=0, atol=0)


def test_what_cannot_be_updated_is_one_line(
    tiny: Tiny, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = f"--data={tiny.data / DATASET}"
    assert status_of(main, ["--from", str(tmp_path), data]) == 1
    assert "finished stage" in capsys.readouterr().err
    assert status_of(main, ["--from", str(finished), f"--data={tmp_path / 'none'}", *QUIET]) == 1
    assert "none" in capsys.readouterr().err
    assert status_of(main, ["--from", str(finished), "--rollback"]) == 1
    assert "symbolic link" in capsys.readouterr().err


def test_a_night_without_clicks_is_no_error_and_known_before_anything_is_loaded(
    tiny: Tiny, link: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A scheduler would report a failure, with a sentence about a data loader."""
    monkeypatch.delattr(module, "settings_of")
    assert status_of(main, ["--from", str(link), f"--data={tiny.data / DATASET}"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("No clicks since 2019-11-06T00:27:20Z in ")
    assert said.out.endswith("nothing to do.\n")
    assert said.err == ""


@pytest.mark.parametrize("layers", [0, 1])
def test_a_student_of_texts_alone_learns_its_first_clicks(
    tiny: Tiny, tmp_path: Path, layers: int
) -> None:
    """Read as before, no click would move it, and it would be accepted beside itself."""
    how = {"epochs": 1, "num_hidden_layers": layers, "finetune_layers": 2, "learning_rate": 0.5}
    config = tiny.config("ZeroShotStudent", checkpoint_dir=str(tmp_path), **how)
    folder = run_of(config).make(system(config)).folder
    done = update(folder, tiny.data / DATASET, (*QUIET, "--max_steps=1", "--fresh=True"))
    model, student = load(done.folder).engine.model, load(folder).engine.model
    assert type(model) is AlignedNewsRec
    assert read_settings(done.folder)["learning_rate"] == 1e-4
    old, new = (dict(each.named_parameters()) for each in (student, model))
    assert old.keys() == new.keys()
    moved = {name for name in old if not torch.equal(old[name], new[name])}
    assert {name.partition(".")[0] for name in moved} == {"news_encoder", "user_encoder"}


def test_an_update_trains_and_validates_as_the_first_training_did(
    tiny: Tiny, tmp_path: Path
) -> None:
    """Clipping would be lost without a word, and a metric not computed would stop every night."""
    own = {"clip_grad_norm": {"max_norm": 0.25}, "metrics": ["AUC", "Recall"], "topk": [1, 20]}
    own |= {"learner": "adamw", "warmup_steps": 5}  # its rates are of the first training
    config = tiny.config("PLMNR", checkpoint_dir=str(tmp_path), valid_metric="Recall@20", **own)
    folder = run_of(config).make(system(config)).folder
    how = (*QUIET, "--max_steps=1", f"--checkpoint_dir={tmp_path}")
    done = update(folder, tiny.data / DATASET, how, since=NEWER)
    kept = read_settings(done.folder)
    assert kept["clip_grad_norm"] == {"max_norm": 0.25}
    assert (kept["learner"], kept.get("warmup_steps")) == ("adamw", None)
    assert "recall@20" in done.after
    with pytest.raises(ValueError, match="on its data, got --dataset too"):
        update(folder, tiny.data / DATASET, ("--dataset=other",), since=NEWER)


def replace_but(last: Path, source: Path, place: Path) -> None:
    if place == last:
        raise KeyboardInterrupt
    os.rename(source, place)


@settings(deadline=None, max_examples=30)
@given(kills=st.lists(st.integers(0, 2), max_size=5), steps=st.integers(1, 5))
def test_versions_survive_kills(
    kills: list[int], steps: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A switch that is killed between its two links loses no version and repeats none."""
    folder = tmp_path_factory.mktemp("versions")
    link, expected = folder / "current", []
    for number in range(steps + 1):
        (folder / f"v{number}").mkdir()
    link.symlink_to("v0")
    for number in range(1, steps + 1):
        target = folder / f"v{number}"
        if kills[number - 1 : number] == [1]:  # before the second link
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(os, "replace", partial(replace_but, link))
                with pytest.raises(KeyboardInterrupt):
                    switch(link, target)
        expected.append(link.resolve())
        switch(link, target)
        assert link.resolve() == target
    for version in reversed(expected):
        assert rollback(link) == version
    with pytest.raises(ValueError, match="no earlier version"):
        rollback(link)
    shutil.rmtree(folder)


@pytest.fixture
def versions(tmp_path: Path) -> Path:
    """A link to ``v1`` with ``v0`` as its earlier version; ``v2`` and ``v3`` are there too."""
    for number in range(4):
        (tmp_path / f"v{number}").mkdir()
    link = tmp_path / "current"
    link.symlink_to("v0")
    switch(link, tmp_path / "v1")
    return link


def moved_by_hand(link: Path) -> None:
    link.unlink()
    link.symlink_to("v3")


@pytest.mark.parametrize(
    ("move", "points_to"),
    [
        (moved_by_hand, "v3"),
        (rollback, "v0"),
        (lambda link: switch(link, link.with_name("v3")), "v3"),
    ],
)
def test_an_update_does_not_replace_what_it_was_not_compared_with(
    versions: Path, monkeypatch, capsys, move: Callable[[Path], object], points_to: str
) -> None:
    """One with an AUC of 0.5893 replaced one of 0.6020, because it beat the version before."""
    made = versions.with_name("v2")

    def updated_meanwhile(folder: Path, *_: object) -> Update:
        assert folder == versions.with_name("v1")
        move(versions)
        return Update(made, {"auc": 0.58}, {"auc": 0.59}, True)

    monkeypatch.setattr(module, "_updated", updated_meanwhile)
    assert status_of(main, ["--from", str(versions), "--data=none"]) == 1
    said = capsys.readouterr().err
    assert f"{versions} was moved while the update was made" in said
    assert said.count("\n") == 1
    assert versions.resolve().name == points_to


def test_a_second_update_of_a_link_ends_in_one_line_while_the_first_goes_on(
    versions: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked, said = ["--from", str(versions), "--data=none"], []

    def updated_slowly(*_: object) -> Update:
        assert status_of(main, asked) == 1
        said.append(capsys.readouterr().err)
        return Update(versions.with_name("v2"), {"auc": 0.5}, {"auc": 0.6020}, True)

    monkeypatch.setattr("recbole_tinynews.pipeline.update._updated", updated_slowly)
    assert status_of(main, asked) == 0
    assert "another process is already updating it" in said[0]
    assert said[0].count("\n") == 1
    assert versions.resolve().name == "v2"
    versions.with_name(f"{versions.name}.9").symlink_to("removed to save space")
    assert rollback(versions).name == "v1"
    assert not [*versions.parent.glob(".*")]  # no lock is left


def test_switches_at_the_same_time_lose_no_version(tmp_path: Path) -> None:
    """Two would take the same number, and the earlier version of one be gone."""
    names = [f"v{number}" for number in range(17)]
    folders = [tmp_path / name for name in names]
    for folder in folders:
        folder.mkdir()
    link = tmp_path / "current"
    link.symlink_to("v0")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(partial(switch, link), folders[1:]))
    earlier = [link.with_name(f"current.{number}").resolve().name for number in range(1, 17)]
    assert sorted([*earlier, link.resolve().name]) == sorted(names)


def test_a_folder_with_the_name_of_a_version_is_left_alone(link: Path, finished: Path) -> None:
    """A night's update ended with [Errno 21], and left a partial link."""
    (link.parent / "current.1" / "mine").mkdir(parents=True)
    newer = link.parent / "newer"
    newer.mkdir()
    switch(link, newer)
    assert link.resolve() == newer
    assert (link.parent / "current.2").resolve() == finished.resolve()
    assert (link.parent / "current.1" / "mine").is_dir()
    assert rollback(link) == finished.resolve()
