"""Runs of systems that record what each stage starts with, learns from and minimises."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from tiny import Tiny, finished, run_of
from torch import Tensor

from recbole_tinynews.pipeline import factory
from recbole_tinynews.pipeline.artifact import Artifact
from recbole_tinynews.pipeline.run import Run
from recbole_tinynews.pipeline.stage import up_to
from recbole_tinynews.pipeline.systems import system
from recbole_tinynews.trainer import DistillationTrainer

Weights = dict[str, Tensor]
PLM = "news_encoder.text_encoder.plm."


class RecordedRun(NamedTuple):
    """A run of all stages, and each stage's weights before its first step."""

    run: Run
    artifact: Artifact
    starts: list[tuple[str, Weights]]
    teachers: list[list[Weights]]
    losses: dict[str, tuple[str, ...]]

    def artifacts(self, stage: str) -> list[Artifact]:
        return [artifact for artifact in finished(self.run) if artifact.name == stage]

    def start_of(self, stage: str) -> list[Weights]:
        return [weights for name, weights in self.starts if name == stage]

    def made(self) -> list[str]:
        """The stages that were trained, in their order."""
        return list(dict.fromkeys(a.name for a in finished(self.run) if not a.reused))

    def last_model(self) -> Any:
        """The model of the last stage."""
        return self.run.model(next(reversed(self.run.artifacts)))


def record(tiny: Tiny, model: str, **settings: Any) -> RecordedRun:
    """Run the stages, all or up to the setting ``stage``."""
    config = tiny.config(model, **settings)
    run = run_of(config)
    recorded = RecordedRun(run, None, [], [], {})
    find = factory.find_trainer

    def watched(model_class: type) -> Any:
        trainer_class = find(model_class)

        def stage_of(trainer: Any) -> str:
            return Path(trainer.saved_model_file).parent.name.rsplit("-", 1)[0]

        def fit(self: Any, *arguments: Any, **keywords: Any) -> tuple:
            recorded.starts.append((stage_of(self), weights_of(self.model)))
            if isinstance(self, DistillationTrainer):
                recorded.teachers.append([*map(weights_of, self.teachers.members)])
            return trainer_class.fit(self, *arguments, **keywords)

        def backward(self: Any, *arguments: Any) -> Any:
            parts = trainer_class._backward(self, *arguments)
            recorded.losses[stage_of(self)] = parts._fields
            return parts

        watching = {"fit": fit, "_backward": backward}
        return type(trainer_class.__name__, (trainer_class,), watching)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(factory, "find_trainer", watched)
        artifact = run.make(*up_to(system(config), config["stage"]))
    return recorded._replace(artifact=artifact)


def weights_of(module: torch.nn.Module) -> Weights:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def under(prefix: str, weights: Weights) -> Weights:
    """The weights whose names begin so, without the prefix; there are some."""
    found = {n.removeprefix(prefix): v for n, v in weights.items() if n.startswith(prefix)}
    assert found, prefix
    return found


def equal(one: Weights, other: Weights) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(value, other[name]) for name, value in one.items())
