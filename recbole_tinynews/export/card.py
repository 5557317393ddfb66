"""The model card of an export: ``README.md``, with yaml metadata for the model hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from recbole_tinynews import __version__
from recbole_tinynews.encoder.plm_files import PACKAGE_PREFIX
from recbole_tinynews.export.finished import FinishedRecommender
from recbole_tinynews.export.formats import find_format
from recbole_tinynews.files.columns import TITLE
from recbole_tinynews.files.installation import pip_install
from recbole_tinynews.pipeline.artifact import saved_test_result

TEMPLATE = Path(__file__).with_name("model_card.md.jinja")
UNKNOWN = "unknown"
METRICS = {"auc": "AUC", "mrr": "MRR", "ndcg@5": "nDCG@5", "ndcg@10": "nDCG@10"}
TRAINING = (
    *("epochs", "max_steps", "learning_rate", "plm_learning_rate", "train_batch_size", "negatives"),
    *("finetune_layers", "precision", "head_init", "news_pooling", "user_encoder"),
    *("temperature", "num_teachers"),
)


class Origins(NamedTuple):
    """Licences of the data set and of the language model, and the latter's name on the hub."""

    data_license: str
    plm_license: str
    base_model: str | None


def hub_name(plm: str, data: Path | None) -> str | None:
    """The name on the hub of a language model that is no package, and no folder beside the data."""
    beside = [Path(), *([data, data.parent] if data else [])]
    is_local = plm.startswith(PACKAGE_PREFIX) or any((folder / plm).is_dir() for folder in beside)
    return None if is_local or plm.count("/") != 1 or Path(plm).is_absolute() else plm


def model_card(
    recommender: FinishedRecommender,
    to: str,
    checked: Mapping[str, Any],
    origins: Origins,
    size: int,
) -> str:
    """Text of the card; ``checked`` as in ``Description``, ``size`` of the files in bytes."""
    settings, written = recommender.settings, recommender.written
    results, measured = _results(recommender, checked), checked.get("metrics", {})
    lost = None
    if "fp32" in measured:
        lost = 100 * (measured["fp32"]["auc"] - measured["exported"]["auc"])
    plm = Path(written["plm"])
    card = ModelCard.from_template(
        _card_data(recommender, to, origins, results),
        template_str=TEMPLATE.read_text(encoding="utf-8"),
        recommender=recommender,
        settings=settings,
        wanted=find_format(to),
        text="title" if settings["news_text"] == TITLE else "title and abstract",
        pip_install=pip_install(),
        metrics=METRICS,
        results=results,
        lost=lost,
        checked=checked,
        parameters=sum(p.numel() for p in recommender.model.parameters()),
        plm_parameters=recommender.text_encoder.plm.num_parameters(),
        size=size,
        version=__version__,
        plm=plm.name if plm.is_absolute() else plm,  # no folder of this machine
        origins=origins,
        training=", ".join(f"`{name}: {written[name]}`" for name in TRAINING if name in written),
    )
    return f"{card}\n"


def _card_data(
    recommender: FinishedRecommender,
    to: str,
    origins: Origins,
    results: Mapping[str, Mapping[str, Any]],
) -> ModelCardData:
    wanted, data_set = find_format(to), recommender.settings["dataset"]
    both = {origins.data_license, origins.plm_license}
    licence = origins.plm_license.lower() if len(both) == 1 else "other"
    ranked, values = next(iter(results.items()))
    evaluated = [
        EvalResult(
            task_type="text-ranking",
            task_name="News recommendation",
            dataset_type=data_set,
            dataset_name=data_set,
            metric_type=metric,
            metric_name=f"{label} ({ranked})",
            metric_value=values[metric],
        )
        for metric, label in METRICS.items()
        if metric in values
    ]
    return ModelCardData(
        library_name=wanted.library,
        pipeline_tag=wanted.task,
        tags=["news-recommendation", "recbole", "recbole_tinynews", to],
        license=UNKNOWN if UNKNOWN in both else licence,
        base_model=origins.base_model,
        model_name=recommender.name,
        eval_results=evaluated or None,
    )


def _results(
    recommender: FinishedRecommender, checked: Mapping[str, Any]
) -> dict[str, Mapping[str, Any]]:
    """Metrics by label: the export's own, or else those saved for test, or else for validation."""
    measured = checked.get("metrics")
    if measured is not None:
        named = {"exported": "this export", "fp32": "as trained, fp32"}
        return {f"{named[name]}, test impressions": found for name, found in measured.items()}
    tested = saved_test_result(recommender.metrics, recommender.made_from.get("data"))
    if tested is None:
        return {"as trained, validation impressions": recommender.metrics["valid"]}
    return {"as trained, test impressions": tested}
