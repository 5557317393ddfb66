"""Events lie under the name of their stage and at the optimizer step that they were measured at."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny import DATASET, Tiny, scalars

from recbole_tinynews.files.progress import StageProgress
from recbole_tinynews.pipeline.quick_start import run
from recbole_tinynews.trainer import news_trainer

ROUND = 2  # steps between two validations


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    """A module that remembers what it is given, in place of W&B's."""
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    fake.__spec__ = SimpleNamespace()  # what find_spec returns
    return fake


class FakeWandb:
    """The part of W&B that RecBole uses."""

    def __init__(self) -> None:
        self.run: Any = None
        self.begun: list[dict[str, Any]] = []
        self.finished = self.failed = 0
        self.logged: list[dict[str, Any]] = []
        self.steps: dict[str, str] = {}

    def init(self, project: str, name: str, config: dict[str, Any]) -> Any:
        assert type(config) is dict
        self.begun.append({"project": project, "name": name, "config": config})
        self.run = SimpleNamespace(summary={}, finish=self.finish, config=SimpleNamespace())
        self.summary = self.run.summary
        return self.run

    def finish(self, exit_code: int = 0) -> None:
        self.run = None
        self.finished += 1
        self.failed += exit_code != 0

    def define_metric(self, name: str, step_metric: str) -> None:
        self.steps[name] = step_metric

    def log(self, metrics: dict[str, Any], commit: bool = True) -> None:
        self.logged.append(metrics)


def of_stages(folder: Path) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """The scalars of each stage by its folder's name without the fingerprint."""
    found: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for events in sorted(folder.glob("*/tensorboard")):
        of_stage = scalars(events)
        name = next(iter(of_stage)).partition("/")[0]
        found[name] = of_stage
    return found


@pytest.mark.whole
def test_each_stage_has_its_own_tags_at_its_true_steps(
    tiny: Tiny, tmp_path: Path, wandb: FakeWandb
) -> None:
    """RecBole logs a sum of losses by epoch, for all stages under one name; W&B gets the same."""
    settings = {"eval_step": 1, "eval_steps": ROUND, "max_steps": 4, "log_wandb": True}
    result = run("TinyNewsRec", DATASET, config_dict=tiny.settings("TinyNewsRec", **settings))
    found = of_stages(tmp_path / "saved" / DATASET)
    assert set(found) == {
        *("post_train_teacher", "post_train_student"),
        *("finetune_teacher_1", "finetune_teacher_2", "TinyNewsRec"),
    }
    for stage, tags in found.items():
        assert all(tag.startswith(f"{stage}/") for tag in tags if not tag.startswith("hparam"))
    student = found["TinyNewsRec"]
    for loss in ("train_loss", "distillation_loss", "embedding_loss", "target_loss"):
        assert [step for step, _ in student[f"TinyNewsRec/train/{loss}"]] == [1, 2, 3, 4]
        assert [step for step, _ in student[f"TinyNewsRec/epoch/{loss}"]] == [2, 4]
    for metric in ("auc", "mrr", "ndcg@5", "ndcg@10", "score"):
        assert [step for step, _ in student[f"TinyNewsRec/valid/{metric}"]] == [2, 4]
    # the mean of a round is that of its steps
    of_steps = [value for _, value in student["TinyNewsRec/train/target_loss"]]
    of_rounds = [value for _, value in student["TinyNewsRec/epoch/target_loss"]]
    assert of_rounds == pytest.approx([sum(of_steps[:2]) / 2, sum(of_steps[2:]) / 2], rel=1e-5)

    (begun,) = wandb.begun
    assert (begun["project"], begun["config"]["max_steps"]) == ("recbole", 4)
    assert wandb.finished == 1
    assert {name: wandb.summary[f"test/{name}"] for name in result["test"]} == result["test"]
    for stage, tags in found.items():
        assert wandb.steps[f"{stage}/*"] == f"{stage}_step"
        for tag, points in tags.items():
            if tag.startswith("hparam") or tag.endswith("valid/score"):  # RecBole's
                continue
            logged = [metrics for metrics in wandb.logged if tag in metrics]
            steps, values = zip(*points, strict=True)
            assert tuple(metrics[f"{stage}_step"] for metrics in logged) == steps, tag
            assert [metrics[tag] for metrics in logged] == pytest.approx(values, rel=1e-6), tag


def test_a_run_of_wandb_that_fails_is_ended_too(
    tiny: Tiny, wandb: FakeWandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next trial of a search would be logged into it."""
    monkeypatch.setattr("recbole_tinynews.pipeline.quick_start._prepare", lambda config, log: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("TfIdf", DATASET, config_dict=tiny.settings("TfIdf", log_wandb=True))
    assert (wandb.run, wandb.finished, wandb.failed) == (None, 1, 1)


def test_a_host_programs_run_of_wandb_goes_on(tiny: Tiny, wandb: FakeWandb) -> None:
    """A sweep has begun it, and logs into it afterwards."""
    updated = []
    wandb.init("mine", "mine", {})
    wandb.run.config.update = lambda values, allow_val_change: updated.append(values)
    run("TfIdf", DATASET, config_dict=tiny.settings("TfIdf", log_wandb=True))
    assert len(wandb.begun) == 1
    assert wandb.finished == 0
    assert updated[0]["model"] == "TfIdf"
    assert any("TfIdf/valid/auc" in metrics for metrics in wandb.logged)
    assert wandb.run.summary["test/auc"] > 0


def test_recboles_own_models_have_their_name_and_steps_too(
    tiny: Tiny, tmp_path: Path, wandb: FakeWandb
) -> None:
    given = tiny.stock_settings(epochs=2, log_wandb=True)
    run("BPR", DATASET, config_dict=given)
    (tags,) = of_stages(tmp_path / "saved" / DATASET).values()
    steps = [step for step, _ in tags["BPR/train/train_loss"]]
    assert len(steps) == 2
    assert steps[1] == 2 * steps[0] > 2
    assert [step for step, _ in tags["BPR/valid/auc"]] == steps
    assert not {"Loss/Train", "Vaild_score"} & tags.keys()
    assert {tuple(m) for m in wandb.logged if "BPR/train/train_loss" in m} == {
        ("BPR/train/train_loss", "BPR_step")
    }


@pytest.mark.parametrize(("points", "steps"), [(5, [1, 2, 3, 4, 5]), (3, [2, 4, 5])])
def test_a_resumed_training_has_each_step_once(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, points: int, steps: list[int]
) -> None:
    """Curves would run back and forth, or a point would leave out the steps before the stop."""
    monkeypatch.setattr(news_trainer, "POINTS", points)
    settings = {"eval_steps": 5, "max_steps": 5, "save_steps": 1}
    paths = [tmp_path / "whole", tmp_path / "stage"]
    for path, last in ((paths[0], 5), (paths[1], 4), (paths[1], 5)):
        world = tiny.world(**settings)
        trainer = world.trainer(path)
        trainer.progress = StageProgress("PLMNR")
        taken = trainer.after_step

        def stop(*step: Any, taken: Any = taken, trainer: Any = trainer, last: int = last) -> None:
            taken(*step)
            if trainer.step == last < 5:
                raise KeyboardInterrupt

        trainer.after_step = stop
        trainer.resume_checkpoint()
        torch.manual_seed(0)
        with pytest.raises(KeyboardInterrupt) if last < 5 else nullcontext():
            trainer.fit(world.clicks(), world.impressions())
        if last < 5:
            trainer.tensorboard.log("train", 4, {"target_loss": 99.0})  # told, and not saved
        trainer.tensorboard.close()
    whole, resumed = (scalars(path / "tensorboard")["PLMNR/train/target_loss"] for path in paths)
    assert [step for step, _ in whole] == steps
    assert resumed == whole
