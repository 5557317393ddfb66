"""Before the first training: settings, which stages are trained and why, whether they can be."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from recbole.utils import set_color
from tabulate import tabulate

from recbole_tinynews.files.progress import StageProgress
from recbole_tinynews.pipeline import artifact
from recbole_tinynews.pipeline.config import NewsConfig
from recbole_tinynews.pipeline.factory import ImpressionFactory
from recbole_tinynews.pipeline.fingerprints import Recipe
from recbole_tinynews.pipeline.run import Run
from recbole_tinynews.pipeline.stage import Copy, Stage
from recbole_tinynews.settings.run_settings import is_shipped
from recbole_tinynews.settings.values import refuse
from recbole_tinynews.trainer.checkpoints import STATE, saved_step
from recbole_tinynews.trainer.distillation_trainer import most_copies

REUSED = "reused"
PLAIN: dict[str, Any] = {"tablefmt": "plain", "disable_numparse": True}  # arguments of tabulate

_LONGEST = 34  # characters per cell, for lines of a hundred
_IN_HEAD = ("model", "dataset")
_REFUSED = "{} cannot be trained with these settings and data:"


def shown_settings(config: NewsConfig, stages: Collection[str]) -> str:
    """Non-default settings of these stages with sources, strongest first."""
    head = f"{config['model']} on {config['dataset']}, seed {config['seed']}, {config['device']}"
    rows = []
    for key, value, default, source in config.settings.changed():
        if key.name not in _IN_HEAD and key.stage in (None, *stages):
            usual = f"as {key.name}" if key.stage and default is None else _cell(default)
            file = Path(source.removeprefix("file "))
            set_by = file.name if is_shipped(file) else str(file)
            rows.append([str(key), _cell(value), usual, set_by])
    text = "All settings have their defaults"
    if rows:
        table = tabulate([["setting", "value", "default", "set by"], *rows], **PLAIN)
        text = f"Settings that differ from their defaults; all: --list-settings\n{table}"
    return f"{set_color(head, 'pink')}\n{text}"


def _cell(value: Any) -> str:
    text = "~" if value is None else str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


class Step(NamedTuple):
    """What a run does with a stage (``runs``, ``resumes`` or ``REUSED``), and why."""

    stage: str
    action: str
    reason: str


def plan(run: Run, stages: Sequence[Stage], fresh: bool = False) -> list[Step]:
    """One step per stage in topological order; ``ValueError`` if saved copies are too few."""
    finished = {  # one that names its folder, the recommender that an update starts from, is read
        stage: None if fresh and stage.folder is None else run.recipe(stage).finished()
        for stage in stages
    }
    for source in (source for stage in stages for source in stage.sources):
        if isinstance(source, Copy) and (made := finished[source.stage]):
            made.copy(source.back)
    return [
        Step(stage.name, REUSED, run.recipe(stage).folder.name)
        if finished[stage]
        else _step(run.recipe(stage), any(finished[s] is None for s in stage.needs), fresh)
        for stage in stages
    ]


def plan_table(steps: Sequence[Step]) -> str:
    """The plan, one line per stage."""
    names = numbered([step.stage for step in steps])
    pairs = zip(names, steps, strict=True)
    return tabulate([[name, step.action, f"({step.reason})"] for name, step in pairs], **PLAIN)


def numbered(names: Sequence[str]) -> list[str]:
    """Number repeated names.

    >>> numbered(["post_train_teacher", "finetune_teacher", "finetune_teacher"])
    ['post_train_teacher', 'finetune_teacher 1', 'finetune_teacher 2']
    """
    return [
        f"{name} {names[: place + 1].count(name)}" if names.count(name) > 1 else name
        for place, name in enumerate(names)
    ]


def _step(recipe: Recipe, follows: bool, fresh: bool) -> Step:
    name = recipe.stage.name
    if fresh:
        return Step(name, "runs", "fresh")
    if (step := saved_step(recipe.folder / STATE)) is not None:
        return Step(name, "resumes", f"from step {step}")
    if artifact.was_finished(recipe.folder):
        return Step(name, "runs", f"{recipe.folder.name} is damaged")
    return Step(name, "runs", "after a stage that runs" if follows else "not finished before")


def check_data(factory: ImpressionFactory, stages: Sequence[Stage]) -> None:
    """``ValueError`` for data without what stages train on; needs no texts' tokens or vectors."""
    config, trained = factory.config, [stage for stage in stages if stage.folder is None]
    found = (factory.data_mistakes(s, config.for_stage(s.name, s.number)) for s in trained)
    refuse(_REFUSED.format(config["model"]), chain.from_iterable(found))


def rehearse(run: Run, stages: Sequence[Stage]) -> None:
    """Check copies and models of the stages to train; ``ValueError`` lists all errors."""
    mistakes = [*_of_copies(run, stages)]
    built = {(stages[0].name, stages[0].model)} if stages else set()
    for stage in stages:
        if (stage.name, stage.model) not in built:  # equal stages differ only in seeds
            built.add((stage.name, stage.model))
            try:
                run.factory.model(stage.model, run.recipe(stage).config)
            except ValueError as mistake:
                mistakes.append(f"Stage {stage.name}: {str(mistake).removesuffix('.')}")
    refuse(_REFUSED.format(run.factory.config["model"]), mistakes)


def _of_copies(run: Run, stages: Sequence[Stage]) -> Iterator[str]:
    """Stages that need more copies than will be saved."""
    wanted: dict[Stage, int] = {}
    for source in (source for stage in stages for source in stage.sources):
        if isinstance(source, Copy) and source.stage in stages:
            wanted[source.stage] = max(wanted.get(source.stage, 0), source.back)
    for stage, back in wanted.items():
        config = run.recipe(stage).config
        data = run.factory.data(stage.model, config)
        copies = most_copies(config, len(run.factory.loaders(config, data)[0]))
        if copies <= back:
            yield artifact.too_few_copies(stage.name, back + 1, copies)


def stage_progress(stages: Sequence[Stage]) -> dict[Stage, StageProgress]:
    """Progress of each stage of a run, with its number."""
    tags = [name.replace(" ", "_") for name in numbered([stage.name for stage in stages])]
    labels = [f"stage {number} of {len(stages)}" for number in range(1, 1 + len(stages))]
    several = labels if len(stages) > 1 else [""]
    return dict(zip(stages, map(StageProgress, tags, several), strict=True))
