"""Optimizer steps of a run, counted before training."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from recbole_tinynews.logs.progress import StageProgress, number_stages
from recbole_tinynews.pipeline.plan import numbered
from recbole_tinynews.pipeline.run import Run
from recbole_tinynews.pipeline.stage import Stage
from recbole_tinynews.registry import find_trainer
from recbole_tinynews.trainer.optimization import most_steps
from recbole_tinynews.trainer.training_state import STATE, saved_step
from recbole_tinynews.trainer.untrained import UntrainedTrainer


def schedule(
    run: Run, stages: Sequence[Stage], trained: Collection[Stage]
) -> dict[Stage, StageProgress]:
    """Progress of each stage, with the number of steps left."""
    made: dict[Stage, StageProgress] = {}
    steps: dict[tuple[str, type], int] = {}  # equal stages differ only in seeds
    for stage, tag in zip(stages, numbered([stage.name for stage in stages]), strict=True):
        kind, left = (stage.name, stage.model), 0
        if stage in trained and len(trained) > 1:  # a single stage counts its own
            if kind not in steps:
                steps[kind] = steps_of(run, stage)
            taken = saved_step(run.recipes.of(stage).folder / STATE) or 0
            left = max(0, steps[kind] - taken)
        made[stage] = StageProgress(stage.name, tag.replace(" ", "_"), left)
    number_stages([*made.values()])
    return made


def steps_of(run: Run, stage: Stage) -> int:
    """Steps of a stage without early stopping."""
    if issubclass(find_trainer(stage.model), UntrainedTrainer):
        return 0
    config = run.recipes.of(stage).config
    batches, _ = run.factory.loaders(config, run.factory.data(stage.model, config))
    accumulated, limit = config["accumulation_steps"], config["max_steps"]
    return most_steps(len(batches), config["epochs"], accumulated, limit)
