"""``run``: train and evaluate a recommender."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from logging import ERROR, getLogger
from pathlib import Path
from typing import Any

import transformers
from recbole.utils import init_seed, set_color

from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.evaluation.rerank import VECTORS, ReRanking
from recbole_tinynews.files.columns import has_impressions
from recbole_tinynews.files.log_file import LOG, LateFile, run_log, wandb_run
from recbole_tinynews.files.whole import check_writable
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.pipeline.config import NewsConfig
from recbole_tinynews.pipeline.factory import ImpressionFactory, factory_of
from recbole_tinynews.pipeline.outcome import result_of
from recbole_tinynews.pipeline.plan import (
    REUSED,
    check_data,
    plan,
    plan_table,
    rehearse,
    shown_settings,
    stage_progress,
)
from recbole_tinynews.pipeline.run import Run
from recbole_tinynews.pipeline.stage import Stage, in_order, up_to
from recbole_tinynews.pipeline.systems import system
from recbole_tinynews.processes.group import join, launched_group, process_group
from recbole_tinynews.settings.registry import is_news_model
from recbole_tinynews.settings.table import parse_key
from recbole_tinynews.settings.values import refuse

# settings of a run that tests nothing
NO_TEST: dict[str, Any] = {"eval_dump": None, "submission": None, "rerank": []}


def run(
    model: str | type | None = None,
    dataset: str | None = None,
    config_file_list: Sequence[str | Path] | None = None,
    config_dict: Mapping[str, Any] | None = None,
    command_line: Sequence[str] = (),
) -> dict[str, Any]:
    """Train a recommender and evaluate it per impression.

    Args:
        model: a name, including RecBole's own models, or a class derived from ``NewsRecommender``
            or one of them.
        dataset: name of a folder of atomic files in ``data_path``.
        config_file_list: yaml files; later ones override earlier ones.
        config_dict: settings that override the files.
        command_line: ``--key=value`` strings that override everything; ``sys.argv`` is never read.

    Returns:
        The contents of ``result_file``: model, dataset, seed, valid, test, test_cold, test_reranked
            if asked for, parameters, stages, news_per_second (None for models that encode no news),
            budget, environment, and teachers if any. Metrics are fractions.

    Raises:
        ValueError: settings are wrong; all errors are listed.
    """
    return run_config(NewsConfig(model, dataset, config_file_list, config_dict, command_line))


def run_config(config: NewsConfig) -> dict[str, Any]:
    """``run`` with settings that are read already."""
    with prepared(config) as (this_run, stages):
        result = result_of(this_run, stages)
        if config["log_wandb"]:
            import wandb

            wandb.run.summary.update({f"test/{n}": value for n, value in result["test"].items()})
        return result


@contextmanager
def prepared(config: NewsConfig) -> Iterator[tuple[Run, list[Stage]]]:
    """A run and its stages in order, after checks of settings, data and models (``ValueError``).

    Ctrl-C inside the block raises ``KeyboardInterrupt`` with a message that names the stages kept.
    """
    if not is_news_model(config.model_class) and not has_impressions(Path(config["data_path"])):
        raise ValueError(
            f"run expects a data set of impressions for {config['model']}, got interactions in "
            f"{config['data_path']}. Convert impressions: recbole-tinynews convert. On "
            "interactions, RecBole's own models are trained by its recbole.quick_start.run_recbole."
        )
    _check_output_paths(config)
    join(config["device"], config["process_timeout"] if not launched_group().alone else 0)
    if not process_group().first:
        getLogger().setLevel(ERROR)
    beside_stages = Path(config["checkpoint_dir"], str(config["dataset"]), LOG)
    log_folder = Path(config["log_dir"] or beside_stages)
    log_file = run_log(config, log_folder) if process_group().first else nullcontext()
    with log_file as log, wandb_run(config) if config["log_wandb"] else nullcontext():
        this_run, stages = _prepare(config, log)
        try:
            yield this_run, stages
        except KeyboardInterrupt as stop:
            kept = this_run.kept(stages)
            folder = this_run.recipe(stages[-1]).folder.parent
            raise KeyboardInterrupt(
                f"kept in {folder}: {', '.join(kept)}" if kept else "nothing is kept"
            ) from stop


def _prepare(config: NewsConfig, log: LateFile | None) -> tuple[Run, list[Stage]]:
    transformers.utils.logging.disable_progress_bar()  # one per loaded model
    logger = getLogger()
    last, rerankers = system(config), ReRanking.parse(config["rerank"])
    stages = up_to(last, config["stage"])
    logger.info(shown_settings(config, {stage.name for stage in stages}))
    for note in config.notes:
        logger.info(note)
    for warning in config.warnings:
        logger.warning(f"{warning}: {config['model']} does not read it on impressions.")
    of_system = {stage.name for stage in in_order(last)}
    for name in config.external_config_dict:
        stage = parse_key(name, config.settings.stages).stage
        if stage and stage not in of_system:
            logger.warning(f"{name}: {config['model']} has no stage {stage}, and does not read it.")
    init_seed(config["seed"], config["reproducibility"])
    data = NewsDataset(config)
    logger.info(data)
    factory = factory_of(config, data)
    _check_test_outputs(factory, stages[-1], rerankers)
    check_data(factory, stages)
    this_run = Run(factory)
    steps = plan(this_run, stages, config["fresh"])
    logger.info(set_color(f"Stages of {config['model']}", "pink") + f":\n{plan_table(steps)}")
    trained = [s for s, step in zip(stages, steps, strict=True) if step.action != REUSED]
    rehearse(this_run, trained)
    this_run.progress = stage_progress(stages)
    if log is not None and trained:
        log.begin()
    return this_run, stages


def _check_output_paths(config: NewsConfig) -> None:
    mistakes = []
    for name in ("checkpoint_dir", "result_file", "eval_dump", "submission"):
        if not config[name]:
            continue
        place = Path(config[name])
        try:
            check_writable(place / "model" if name == "checkpoint_dir" else place)
        except (OSError, ValueError) as problem:  # ValueError: a name with a null character
            mistakes.append(
                f"{name} expects a place that can be written, got {place}: "
                f"{getattr(problem, 'strerror', None) or problem}. Name another one"
            )
    refuse("Results could not be saved:", mistakes)


def _check_test_outputs(factory: ImpressionFactory, last: Stage, rerankers: ReRanking) -> None:
    """Refuse ``submission`` and ``rerank`` before training if there is nothing to rank."""
    config, name = factory.config, factory.dataset.dataset_name
    for setting in (each for each in ("submission", "rerank") if config[each]):
        if not factory.ranks_news(last.model):
            raise ValueError(
                f"{setting}={config[setting]} expects a stage that ranks news, and {last.name} "
                f"reads texts alone. Set stage=~, or leave {setting} out."
            )
        if factory.test is None:
            raise ValueError(
                f"{setting}={config[setting]} expects test impressions, and data set '{name}' has "
                f"no {name}.test.inter. Convert it with --test=DIR, labelled or not."
            )
    if not rerankers.needs:
        return
    groups = factory.dataset.groups()
    known = {column for column, each in groups.items() if (each != "").any()}
    known |= {VECTORS} if issubclass(last.model, NewsRecommender) else set()
    if missing := rerankers.needs - known:
        raise ValueError(
            f"rerank={config['rerank']} expects {', '.join(sorted(missing))} of articles, and "
            f"{config['model']} on '{name}' has {', '.join(sorted(known)) or 'none'}. Leave it out"
            f", or add the column NAME:token to {name}.item."
        )
