"""Plans the rows of a table: settings, fingerprints, and why a row can't run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from recbole_tinynews.benchmark.recommender_file import is_added, model_class_of
from recbole_tinynews.benchmark.results import METRICS
from recbole_tinynews.benchmark.suite import CLICKS_NOW, TITLE, USER_IDS, Row, Suite
from recbole_tinynews.data.popularity import uses_popularity
from recbole_tinynews.data.training_news import TrainingNews
from recbole_tinynews.evaluation.own_metrics import is_own
from recbole_tinynews.evaluation.recbole_metrics import of_each_impression
from recbole_tinynews.files.array_cache import content_key
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.model.text_encoders import plm_depth, views_of
from recbole_tinynews.model.user_ids import WithUserIds
from recbole_tinynews.pipeline.config import NewsConfig
from recbole_tinynews.pipeline.factory import content_of_language_model, source_of_texts
from recbole_tinynews.pipeline.fingerprints import Recipes
from recbole_tinynews.pipeline.systems import system
from recbole_tinynews.settings.registry import (
    MODELS,
    declared_settings,
    files_of,
    has_language_model,
    recbole_models,
)
from recbole_tinynews.settings.table import parse_key, setting, unknown_setting
from recbole_tinynews.settings.values import refuse

NO_MODEL = "no such model"
_NEWS_TO_READ = "post_train_news"  # stages without clicks cover it in the digest of their tokens
OWN_TEXT = ("text of its own choice",)


class PlannedRow(NamedTuple):
    """A row with its settings and result fingerprints by seed, or why it can't run."""

    row: Row
    settings: Mapping[str, Any] = {}
    fingerprints: Mapping[int, str] = {}
    why_not: str = ""
    further: Sequence[str] = ()  # requested per-impression metrics beside METRICS


def plan_rows(
    suite: Suite, rows: Sequence[Row], dataset: str, seeds: Sequence[int], given: Mapping[str, Any]
) -> list[PlannedRow]:
    """Plan every row before the first runs; ``ValueError`` if a setting fits none, or all fail."""
    existing = {*MODELS, *recbole_models()}
    classes = {
        row.model: model_class_of(row.model)
        for row in rows
        if is_added(row.model) or row.model in existing
    }
    refuse_unknown({**suite.settings, **given}, classes.values())
    planned = [
        _plan(suite, row, classes[row.model], dataset, seeds, given)
        if row.model in classes
        else PlannedRow(row, why_not=f"{NO_MODEL} ({row.model})")
        for row in rows
    ]
    mistakes = [each.why_not for each in planned if each.row.model in classes]
    if mistakes and all(mistakes):  # such as a data set that isn't there
        raise ValueError(mistakes[0])
    return planned


def language_model_layers(suite: Suite, dataset: str, given: Mapping[str, Any]) -> int | None:
    """Depth of the language model under these settings; None if unknown."""
    ours = ((row, model_class_of(row.model)) for row in suite.rows if row.model in MODELS)
    found = next(((row, each) for row, each in ours if has_language_model(each)), None)
    if found is None:
        return None
    row, model_class = found
    settings = row_settings(row._replace(settings={}), model_class, suite, given)
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
    settings = row_settings(row, model_class, suite, given)
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
            "a benchmark expects AUC, MRR and NDCG among metrics, and 5 and 10 among topk; these "
            f"leave out {', '.join(missing)}"
        )
        return PlannedRow(row, settings, why_not=why_not)
    further = [
        name
        for name in config.metric_results
        if name not in METRICS and of_each_impression(name) and not is_own(name)
    ]
    return PlannedRow(row, settings, fingerprints, further=further)


def read_by(model_class: type, config: NewsConfig) -> tuple[str, ...]:
    """The inputs that a recommender ranks by, according to its class and views."""
    now: tuple[str, ...] = ()
    if uses_popularity(config):
        until = {"stream": "each impression", "train": "the end of training"}
        late = config["popularity_delay"]
        now = (f"{CLICKS_NOW} until {until[config['popularity_from']]}, {late:,} s late",)
    if not issubclass(model_class, NewsRecommender):
        return now or TITLE
    if model_class.news_tokens is not NewsRecommender.news_tokens:
        return OWN_TEXT
    users = (USER_IDS,) if issubclass(model_class, WithUserIds) else ()
    return (*views_of(config), *users, *now)


def row_settings(
    row: Row, model_class: type, suite: Suite, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Merge settings of suite, user and row; shared ones only where the model has them."""
    shared = {**suite.settings, **given}
    known = {name: value for name, value in shared.items() if knows(model_class, name)}
    return {"show_progress": False, **known, **row.settings}


def refuse_unknown(given: Mapping[str, Any], model_classes: Iterable[type]) -> None:
    """Refuse shared settings that no system has, or that the benchmark sets itself."""
    classes = list(dict.fromkeys(model_classes))
    decided = {name: setting(name).in_benchmarks for name in given}
    mistakes = [f"{name}: {instead}." for name, instead in decided.items() if instead]
    for name, instead in decided.items():
        if not instead and classes and not any(knows(each, name) for each in classes):
            mistakes.append(f"{name} {_mistake(classes[-1], name)}.")
    refuse("The settings for all systems don't fit:", mistakes)


def knows(model_class: type, name: str) -> bool:
    """Whether a model or one of its stages has this setting."""
    return _mistake(model_class, name) is None


@cache
def _mistake(model_class: type, name: str) -> str | None:
    declared, stages = _known(model_class)
    return unknown_setting(parse_key(name, stages), declared, stages)


@cache
def _known(model_class: type) -> tuple[dict[str, Any], tuple[str, ...]]:
    return declared_settings(model_class), tuple(files_of(model_class).stages)


def result_fingerprint(config: NewsConfig) -> str:
    """Fingerprint of a result: settings of all stages, data, language model, user code."""
    return Recipes(FileContents(config)).of(system(config)).fingerprint


class FileContents:
    """Digests of the input files of stages, without tokenising them."""

    def __init__(self, config: NewsConfig) -> None:
        self.config = config

    def data_content(self, model_class: type, config: NewsConfig) -> str:
        """Digest of the atomic files, the corpus, if any, and the choice of news."""
        final = config.final_config_dict
        corpus = [Path(config["post_train_corpus"])] if final.get("post_train_corpus") else []
        folder = Path(config["data_path"])
        reads = getattr(model_class, "reads", None)  # RecBole's own models have none
        news = [config[name] for name in getattr(reads, "settings", ()) if name == _NEWS_TO_READ]
        if reads is TrainingNews:  # the student's settings name it
            news = []
        return content_key([_content_of_data(folder), *corpus, *news])

    def language_model_content(self, config: NewsConfig) -> str:
        """Digest of language model or word vectors, or a hub name; empty for RecBole's models."""
        if not config.final_config_dict.get("plm"):
            return ""
        return content_of_language_model(source_of_texts(config))


def _content_of_data(folder: Path) -> str:
    files = sorted(file for file in folder.iterdir() if file.suffix in (".inter", ".item"))
    return content_key([part for file in files for part in (file.name, file)])
