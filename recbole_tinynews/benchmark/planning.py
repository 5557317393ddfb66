"""Plan the rows of a table: settings, fingerprints, and why a row can't be run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from recbole_tinynews.benchmark.recommender_file import is_file_spec, model_class_of
from recbole_tinynews.benchmark.results import METRICS
from recbole_tinynews.benchmark.row_settings import refuse_unknown, result_fingerprint, row_settings
from recbole_tinynews.benchmark.suite import TITLE, USER_IDS, Row, Suite
from recbole_tinynews.config import NewsConfig
from recbole_tinynews.encoder.plm_files import locate_plm, plm_size
from recbole_tinynews.evaluation.own_metrics import is_own
from recbole_tinynews.evaluation.recbole_metrics import of_each_impression
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.model.text_encoders import views_of
from recbole_tinynews.registry import has_language_model, model_names, recbole_model_names

NO_MODEL = "no such model"
OWN_TEXT = ("text of its own choice",)


class PlannedRow(NamedTuple):
    """A row, its settings, and the fingerprint of its result by seed; or why it can't be run.

    ``further`` names the requested metrics of impressions beside ``METRICS``.
    """

    row: Row
    settings: Mapping[str, Any] = {}
    fingerprints: Mapping[int, str] = {}
    why_not: str = ""
    further: Sequence[str] = ()


def plan_rows(
    suite: Suite, rows: Sequence[Row], dataset: str, seeds: Sequence[int], given: Mapping[str, Any]
) -> list[PlannedRow]:
    """Plan every row before the first one runs.

    Args:
        suite: has the settings that its rows share.
        rows: of the suite, and added ones.
        dataset: name of the data set.
        seeds: of all rows.
        given: settings for every row whose model has them.

    Raises:
        ValueError: a setting that no model has, a class that can't be loaded from its file, or a
            mistake in every row.
    """
    existing = {*model_names(), *recbole_model_names()}
    classes = {
        row.model: model_class_of(row.model)
        for row in rows
        if is_file_spec(row.model) or row.model in existing
    }
    refuse_unknown({**suite.settings, **given}, classes.values())
    planned = []
    for row in rows:
        if row.model in classes:
            planned.append(_plan(suite, row, classes[row.model], dataset, seeds, given))
        else:
            planned.append(PlannedRow(row, why_not=f"{NO_MODEL} ({row.model})"))
    mistakes = [each.why_not for each in planned if each.row.model in classes]
    if mistakes and all(mistakes):  # such as a data set that isn't there
        raise ValueError(mistakes[0])
    return planned


def language_model_layers(suite: Suite, dataset: str, given: Mapping[str, Any]) -> int | None:
    """Number of layers of the language model, which the command line may set; None if unknown."""
    for row in suite.rows:
        if row.model in model_names() and has_language_model(model_class_of(row.model)):
            model_class = model_class_of(row.model)
            settings = row_settings(row._replace(settings={}), model_class, suite, given)
            try:
                config = NewsConfig(model_class, dataset, config_dict=settings)
                source = locate_plm(config["plm"], [Path(config["data_path"])])
                return config["num_hidden_layers"] or plm_size(source).layers
            except (ValueError, OSError):  # each row reports this itself
                return None
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
        if row.reads == TITLE:
            row = row._replace(reads=read_by(config.model_class, config))
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
    if not issubclass(model_class, NewsRecommender):
        return TITLE
    if model_class.news_tokens is not NewsRecommender.news_tokens:
        return OWN_TEXT
    return (*views_of(config), *([USER_IDS] if model_class.reads_user_ids else []))
