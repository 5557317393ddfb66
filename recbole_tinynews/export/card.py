"""The model card of an export: ``README.md``, with yaml metadata for the model hub."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData

from recbole_tinynews import __version__
from recbole_tinynews.export.finished import FinishedRecommender
from recbole_tinynews.export.formats import find_format
from recbole_tinynews.files.columns import TITLE
from recbole_tinynews.files.installation import pip_install
from recbole_tinynews.pipeline.artifact import saved_test_result
from recbole_tinynews.serving.exported import Description

TEMPLATE = Path(__file__).with_name("model_card.md.jinja")
UNKNOWN = "unknown"
METRICS = {"auc": "AUC", "mrr": "MRR", "ndcg@5": "nDCG@5", "ndcg@10": "nDCG@10"}
TRAINING = (
    *("epochs", "max_steps", "learning_rate", "plm_learning_rate", "train_batch_size", "negatives"),
    *("finetune_layers", "precision", "head_init", "news_pooling", "user_encoder"),
    *("temperature", "num_teachers"),
)


def model_card(
    recommender: FinishedRecommender,
    described: Description,
    size: int,
    data_license: str,
    plm_license: str,
) -> str:
    """Text of the card; ``size`` of the files in bytes."""
    settings, written, wanted = recommender.settings, recommender.written, find_format(described.to)
    tested = saved_test_result(recommender.metrics, recommender.made_from.get("data"))
    results = recommender.metrics["valid"] if tested is None else tested
    split = "validation" if tested is None else "test"
    licences, plm = {data_license, plm_license}, Path(written["plm"])
    licence = plm_license.lower() if len(licences) == 1 else "other"
    data = ModelCardData(
        library_name=wanted.library,
        pipeline_tag=wanted.task,
        tags=["news-recommendation", "recbole", "recbole_tinynews", described.to],
        license=UNKNOWN if UNKNOWN in licences else licence,
        model_name=recommender.name,
    )
    card = ModelCard.from_template(
        data,
        template_str=TEMPLATE.read_text(encoding="utf-8"),
        recommender=recommender,
        settings=settings,
        wanted=wanted,
        text="title" if settings["news_text"] == TITLE else "title and abstract",
        pip_install=pip_install(),
        metrics=METRICS,
        results=results,
        split=split,
        checked=described.checked,
        parameters=sum(p.numel() for p in recommender.model.parameters()),
        plm_parameters=recommender.text_encoder.plm.num_parameters(),
        size=size,
        version=__version__,
        plm=plm.name if plm.is_absolute() else plm,  # no folder of this machine
        data_license=data_license,
        plm_license=plm_license,
        training=", ".join(f"`{name}: {written[name]}`" for name in TRAINING if name in written),
    )
    return f"{card}\n"
