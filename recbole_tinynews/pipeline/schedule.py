"""The optimizer steps that a run will take, known before its first training."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from recbole_tinynews.logs.progress import StageProgress, put_in_order
from recbole_tinynews.pipeline.plan import numbered
from recbole_tinynews.pipeline.run import Run
from recbole_tinynews.pipeline.stage import Stage
from recbole_tinynews.trainer.optimization import most_steps
from recbole_tinynews.trainer.training_state import STATE, saved_step


def schedule(
    run: Run, stages: Sequence[Stage], trained: Collection[Stage]
) -> dict[Stage, StageProgress]:
    """The progress of each stage of a run, with the steps of those that it will train."""
    made: dict[Stage, StageProgress] = {}
    steps: dict[tuple[str, type], int] = {}  # equal stages differ in their seeds alone
    for stage, tag in zip(stages, numbered([stage.name for stage in stages]), strict=True):
        kind = stage.name, stage.model
        if stage in trained and kind not in steps:
            # the first one tells its steps itself, before any time left is asked for
            steps[kind] = steps_of(run, stage) if steps else 0
        left = max(0, steps[kind] - already_taken(run, stage)) if stage in trained else 0
        made[stage] = StageProgress(stage.name, tag.replace(" ", "_"), left)
    put_in_order([*made.values()])
    return made


def steps_of(run: Run, stage: Stage) -> int:
    """The steps of a stage that early stopping does not end."""
    config = run.recipes.of(stage).config
    batches, _ = run.factory.loaders(config, run.factory.data(stage.model, config))
    if batches is None:  # nothing trains
        return 0
    accumulated, limit = config["accumulation_steps"], config["max_steps"]
    return most_steps(len(batches), config["epochs"], accumulated, limit)


def already_taken(run: Run, stage: Stage) -> int:
    """The steps of a stage that a stopped run has taken and saved."""
    return saved_step(run.recipes.of(stage).folder / STATE) or 0
