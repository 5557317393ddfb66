"""Plans the rows of a table: settings, fingerprints, and why a row can't run."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from recbole_tinynews.benchmark.results import METRICS
from recbole_tinynews.benchmark.suite import ADDS, CLICKS_NOW, TITLE, USER_IDS, Row, Suite
from recbole_tinynews.data.popularity import uses_popularity
from recbole_tinynews.evaluation.recbole_metrics import files_of_metric
from recbole_tinynews.files.array_cache import content_key
from recbole_tinynews.model.article_reader import plm_depth, views_of
from recbole_tinynews.model.reader_mixins import WithUserIds
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.pipeline.artifact import identity_of
from recbole_tinynews.pipeline.config import NewsConfig
from recbole_tinynews.pipeline.factory import content_of_texts
from recbole_tinynews.pipeline.fingerprints import fingerprint, settings_that_matter, source_of
from recbole_tinynews.pipeline.stage import Stage, in_order
from recbole_tinynews.pipeline.systems import system
from recbole_tinynews.settings.registry import (
    MODELS,
    files_of,
    find_model,
    has_language_model,
    recbole_models,
)
from recbole_tinynews.settings.run_settings import RunSettings
from recbole_tinynews.settings.table import affects_result, parse_key, unknown_setting
from recbole_tinynews.settings.values import refuse

NO_MODEL = "no such model"
OWN_TEXT = ("text of its own choice",)
# settings of one run, which a benchmark chooses for each system
OF_ONE_RUN = frozenset(
    ("model", "seed", "fresh", "stage", "result_file", "eval_dump", "submission", "rerank")
)


class PlannedRow(NamedTuple):
    """A row with its settings and result fingerprints by seed, or why it can't run."""

    row: Row
    settings: Mapping[str, Any] = {}
    fingerprints: Mapping[int, str] = {}
    why_not: str = ""


def plan_rows(
    suite: Suite, rows: Sequence[Row], dataset: str, seeds: Sequence[int], given: Mapping[str, Any]
) -> list[PlannedRow]:
    """Plan every row before the first runs; ``ValueError`` if a setting fits none, or all fail."""
    existing = {*MODELS, *recbole_models()}
    classes = {
        row.model: model_class_of(row.model)
        for row in rows
        if row.model.startswith(ADDS) or row.model in existing
    }
    _refuse_unknown({**suite.settings, **given}, classes.values())
    planned = [
        _plan(suite, row, classes[row.model], dataset, seeds, given)
        if row.model in classes
        else PlannedRow(row, why_not=f"{NO_MODEL} ({row.model})")
        for row in rows
    ]
    mistakes = [why_not for row, *_, why_not in planned if row.model in classes]
    if mistakes and all(mistakes):  # such as a data set that isn't there
        raise ValueError(mistakes[0])
    return planned


def language_model_layers(suite: Suite, dataset: str, given: Mapping[str, Any]) -> int | None:
    """Depth of the language model under these settings; None if unknown."""
    classes = (model_class_of(row.model) for row in suite.rows if row.model in MODELS)
    model_class = next(filter(has_language_model, classes), None)
    if model_class is None:
        return None
    settings = row_settings({}, model_class, suite, given)
    try:
        return plm_depth(NewsConfig(model_class, dataset, config_dict=settings))
    except (ValueError, OSError):  # each row reports this itself
        return None


def _plan(
    suite: Suite,
    row: Row,
    model_class: type,
    dataset: str,
    seeds: Sequence[int],
    given: Mapping[str, Any],
) -> PlannedRow:
    settings = row_settings(row.settings, model_class, suite, given)
    try:
        config = NewsConfig(model_class, dataset, config_dict=settings)
        reads = read_by(config.model_class, config)
        if row.reads != TITLE:  # declared, but for how late and how long others' clicks count
            content = [name for name in row.reads if not name.startswith(CLICKS_NOW)]
            reads = (*content, *(name for name in reads if name.startswith(CLICKS_NOW)))
        row = row._replace(reads=reads)
        if has_language_model(model_class) and config["news_encoder"] == "words":
            row = row._replace(layers=None)  # it has no language model
        fingerprints = {}
        for seed in seeds:
            config["seed"] = seed
            fingerprints[seed] = result_fingerprint(config)
    except (ValueError, OSError) as mistake:
        return PlannedRow(row, settings, why_not=" ".join(str(mistake).split()))
    missing = [name for name in METRICS if name not in config.metric_results]
    if missing:  # cells would stay empty: metrics are not part of a fingerprint
        why_not = (
            "a benchmark must have AUC, MRR and NDCG among metrics, and 5 and 10 among topk; these "
            f"leave out {', '.join(missing)}"
        )
        return PlannedRow(row, settings, why_not=why_not)
    return PlannedRow(row, settings, fingerprints)


def read_by(model_class: type, config: NewsConfig) -> tuple[str, ...]:
    """The inputs that a recommender ranks by, according to its class and views."""
    now: tuple[str, ...] = ()
    if uses_popularity(config):
        until = {"stream": "each impression", "train": "the end of training"}
        late = config["popularity_delay"]
        whose = f"{CLICKS_NOW} and the reader" if config["reader"] == "added" else CLICKS_NOW
        now = (f"{whose} until {until[config['popularity_from']]}, {late:,} s late",)
    if not issubclass(model_class, NewsRecommender):
        return now or TITLE
    texts = views_of(config) if model_class.make_texts is None else OWN_TEXT
    users = (USER_IDS,) if issubclass(model_class, WithUserIds) else ()
    return (*texts, *users, *now)


def row_settings(
    of_row: Mapping[str, Any], model_class: type, suite: Suite, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Merge settings of suite, user and row; shared ones only where the model has them."""
    shared = {**suite.settings, **given}
    known = {name: value for name, value in shared.items() if knows(model_class, name)}
    return {"show_progress": False, **known, **of_row}


def _refuse_unknown(shared: Iterable[str], classes: Collection[type]) -> None:
    """Refuse shared settings that no system has, or that the benchmark sets itself."""
    mistakes = []
    for name in shared:
        if name in OF_ONE_RUN:
            mistakes.append(
                f"{name} is chosen for each system by --systems, --seeds and --output. Leave it "
                "out, or run one system by run_recbole.py, which finds its stages finished."
            )
        elif classes and not any(knows(model_class, name) for model_class in classes):
            mistakes.append(f"{name} {_mistake([*classes][-1], name)}.")
    refuse("The settings for all systems don't fit:", mistakes)


def knows(model_class: type, name: str) -> bool:
    """Whether a model or one of its stages has this setting."""
    return _mistake(model_class, name) is None


def _mistake(model_class: type, name: str) -> str | None:
    known = _settings_of(model_class)
    return unknown_setting(parse_key(name, known.stages), known.declared, known.stages)


@cache
def _settings_of(model_class: type) -> RunSettings:
    return RunSettings(files_of(model_class))


def model_class_of(model: str) -> type:
    """The class of a row's model, from a file or the registry."""
    path, colon, name = model.removeprefix(ADDS).rpartition(":")
    if not model.startswith(ADDS) or (name.isidentifier() and not colon):
        return find_model(name)
    if not colon or not path.endswith(".py") or not name:
        raise ValueError(
            "A system is added as +Model, one of your own is written +path/to/file.py:Class, got "
            f"{model!r}."
        )
    module = _module_of(Path(path).resolve())
    cls = getattr(module, name, None)
    if not isinstance(cls, type):
        found = [key for key, value in vars(module).items() if isinstance(value, type)]
        raise ValueError(f"{path} has no class {name!r}. It has {', '.join(found) or 'none'}.")
    return find_model(cls)


def _module_of(path: Path) -> object:
    """Import a file under its own name, by which the registry finds the yaml beside it."""
    if not path.is_file():
        raise ValueError(f"A system of your own is expected in {path}, where there is no file.")
    sys.path.append(str(path.parent))
    importlib.invalidate_caches()  # the file may be new
    try:
        module = importlib.import_module(path.stem)
    except (Exception, SystemExit) as problem:  # a script that exits would end the benchmark
        raise ValueError(f"{path} can't be imported: {problem!r}") from problem
    if module.__file__ != str(path):
        raise ValueError(f"{path} has the name of another module, {module}. Rename the file.")
    return module


def result_fingerprint(config: NewsConfig) -> str:
    """Digest of what decides a result: settings of all stages, input files and user code.

    Unlike the fingerprints of the stages themselves, it needs no data set to be read.
    """
    stages = in_order(system(config))
    configs = [config.for_stage(stage.name, stage.number) for stage in stages]
    of_stages = [*zip(configs, stages, strict=True)]
    files = [file for stage in stages for file in source_of(stage)]
    files += files_of_metric(config["valid_metric"])
    files += [Path(c["post_train_corpus"]) for c in configs if c["post_train_corpus"]]
    models = [content_of_texts(each) for each in configs]
    models += [identity_of(stage.folder) for stage in stages if stage.folder]
    folder = Path(config["data_path"])
    data = sorted(file for file in folder.iterdir() if file.suffix in (".inter", ".item"))
    return fingerprint(
        {
            "settings": [settings_that_matter(*each) for each in of_stages],
            "reads": [_read_by_data(*each) for each in of_stages],
            "files": content_key([*dict.fromkeys(files)]),
            "data": content_key([part for file in data for part in (file.name, file)]),
            "language_models": models,
        }
    )


def _read_by_data(config: NewsConfig, stage: Stage) -> list[Any]:
    """Settings that choose what a stage reads, which it covers by the digest of its data."""
    names = getattr(getattr(stage.model, "reads", None), "settings", ())
    return [config[name] for name in names if affects_result(name, has_teachers=True)]
