"""Before the first training: find errors of later stages, and count the steps of all."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from recbole_tinynews.files.progress import StageProgress, number_stages
from recbole_tinynews.pipeline.artifact import too_few_copies
from recbole_tinynews.pipeline.plan import numbered
from recbole_tinynews.pipeline.run import Run
from recbole_tinynews.pipeline.stage import Copy, Stage
from recbole_tinynews.registry import find_trainer
from recbole_tinynews.settings.values import refuse
from recbole_tinynews.trainer.checkpoints import STATE, saved_step
from recbole_tinynews.trainer.optimization import most_steps
from recbole_tinynews.trainer.post_training import most_copies
from recbole_tinynews.trainer.untrained import UntrainedTrainer


def rehearse(run: Run, stages: Sequence[Stage]) -> None:
    """Check data, copies and models of the stages to train; ``ValueError`` lists all errors."""
    mistakes = [mistake for stage in stages for mistake in _of_data(run, stage)]
    mistakes += _of_copies(run, stages)
    built = {(stages[0].name, stages[0].model)} if stages else set()
    for stage in stages:
        if (stage.name, stage.model) not in built:  # equal stages differ only in seeds
            built.add((stage.name, stage.model))
            try:
                run.factory.model(stage.model, run.recipes.of(stage).config)
            except ValueError as mistake:
                mistakes.append(f"Stage {stage.name}: {str(mistake).removesuffix('.')}")
    model = run.factory.config["model"]
    refuse(f"{model} cannot be trained with these settings and data:", mistakes)


def _of_data(run: Run, stage: Stage) -> Iterator[str]:
    """Data without anything to train or validate on."""
    factory, config = run.factory, run.recipes.of(stage).config
    reads = getattr(stage.model, "reads", None)
    name = factory.dataset.dataset_name
    trains = not issubclass(find_trainer(stage.model), UntrainedTrainer)
    on_clicks = trains and getattr(reads, "trains_on_clicks", False)
    if on_clicks and not factory.train.inter_feat.rankable:
        yield (
            f"Stage {stage.name} expects training impressions with clicked and unclicked "
            f"candidates, and {name}.train.inter has none among {len(factory.train)}. Convert "
            "labelled impressions"
        )
    text = config["news_text"]
    if on_clicks and not any(map(str.strip, factory.dataset.texts(text))):
        yield (
            f"Stage {stage.name} expects articles with words, and all texts of {name}.item are "
            f"empty (news_text={text}). Convert the data set with its texts"
        )
    validates = config["eval_step"] > 0 and config["epochs"] != 0
    on_impressions = reads is None or getattr(reads, "validates_on_impressions", False)
    unlabelled = factory.valid is not None and not factory.valid.inter_feat.rankable
    if validates and on_impressions and unlabelled:
        yield (
            "Validation expects impressions with clicked and unclicked candidates, and found none "
            f"among {len(factory.valid or ())} in {name}.valid.inter. Give labelled validation "
            "data, or train without: --eval_step=0"
        )


def _of_copies(run: Run, stages: Sequence[Stage]) -> Iterator[str]:
    """Stages that need more copies than will be saved."""
    wanted: dict[Stage, int] = {}
    for source in (source for stage in stages for source in stage.sources):
        if isinstance(source, Copy) and source.stage in stages:
            wanted[source.stage] = max(wanted.get(source.stage, 0), source.back)
    for stage, back in wanted.items():
        config = run.recipes.of(stage).config
        data = run.factory.data(stage.model, config)
        copies = most_copies(config, len(run.factory.loaders(config, data)[0]))
        if copies <= back:
            yield too_few_copies(stage.name, back + 1, copies)


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
