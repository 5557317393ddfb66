"""The model card of an export: ``README.md``, with yaml metadata for the model hub."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from torch import Tensor

from recbole_tinynews import __version__
from recbole_tinynews.encoder.plm_files import PACKAGE_PREFIX
from recbole_tinynews.export.finished import FinishedRecommender
from recbole_tinynews.export.formats import find_format
from recbole_tinynews.files.columns import TITLE
from recbole_tinynews.files.installation import packaged_folder, pip_install
from recbole_tinynews.files.untrusted import untrusted
from recbole_tinynews.pipeline.artifact import saved_test_result
from recbole_tinynews.serving.description import CARD

TEMPLATE = Path(__file__).with_name("model_card.md.jinja")
UNKNOWN = "unknown"
OURS = "MIT"  # of this package and its data
METRICS = {"auc": "AUC", "mrr": "MRR", "ndcg@5": "nDCG@5", "ndcg@10": "nDCG@10"}
TRAINING = (
    "epochs",
    "max_steps",
    "learning_rate",
    "plm_learning_rate",
    "train_batch_size",
    "negatives",
    "finetune_layers",
    "precision",
    "head_init",
    "news_pooling",
    "user_encoder",
    "temperature",
    "num_teachers",
)


class Origins(NamedTuple):
    """Licences of the data set and of the language model, and the latter's name on the hub."""

    data_license: str
    plm_license: str
    base_model: str | None


def origins_of(plm: str, data: Path | None) -> Origins:
    """What is known of a language model and a data set's folder, by package, card or hub name.

    A relative ``plm`` lies in the working directory, the data set's folder, or the one around it.
    """
    beside = [Path()] if data is None else [Path(), data, data.parent]
    found = next((folder / plm for folder in beside if (folder / plm).is_dir()), None)
    base_model, plm_license = None, UNKNOWN
    if plm.startswith(PACKAGE_PREFIX):
        plm_license = _of_package(plm.removeprefix(PACKAGE_PREFIX))
    elif found is not None:
        plm_license = OURS if _embedded(found) else _of_card(found / CARD)
    elif plm.count("/") == 1 and not Path(plm).is_absolute():
        base_model = plm
    return Origins(OURS if data and _embedded(data) else UNKNOWN, plm_license, base_model)


def _embedded(folder: Path) -> bool:
    return folder.resolve().is_relative_to(packaged_folder("dataset").resolve())


def _of_package(name: str) -> str:
    for distribution in metadata.packages_distributions().get(name, []):
        known = metadata.metadata(distribution).json
        licence = known.get("license_expression") or known.get("license")
        if isinstance(licence, str) and "\n" not in licence:  # some contain the full text
            return licence
    return UNKNOWN


def _of_card(card: Path) -> str:
    if not card.is_file():
        return UNKNOWN
    with untrusted(card):
        return str(ModelCard.load(card).data.license or UNKNOWN)


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
        formula=formula(settings),
        pip_install=pip_install(),
        metrics=METRICS,
        results=results,
        lost=lost,
        checked=checked,
        parameters=_number_of(recommender.model.parameters()),
        plm_parameters=_number_of(recommender.text_encoder.plm.parameters()),
        size=size,
        version=__version__,
        plm=plm.name if plm.is_absolute() else plm,  # no folder of this machine
        origins=origins,
        before=_stages_before(recommender),
        training=", ".join(f"`{name}: {written[name]}`" for name in TRAINING if name in written),
    )
    return f"{card}\n"


def _number_of(parameters: Iterable[Tensor]) -> int:
    return sum(parameter.numel() for parameter in parameters)


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


def formula(settings: Mapping[str, Any]) -> str:
    """News vector, user vector and score, as the settings have them."""
    pretrained, length = settings["head_init"] == "pretrained", settings["history_length"]
    attended = "sum_{i} softmax_{i}(q . tanh(P {x} + p)) {x}"
    pooled = {"attention": attended.format(i="j", x="h_j"), "mean": "mean_j h_j", "cls": "h_1"}
    news = pooled[settings["news_pooling"]]
    vector = f"unit(W ({news} - centre) + b)" if pretrained else f"W ({news}) + b"
    scale = "scale * " if pretrained else ""
    clicks = f"the newest {length} clicks"
    if settings["user_encoder"] == "self_attention":
        clicks += ", after self-attention" + (" that is added to them" if pretrained else "")
    if settings["history_padding"] == "learned":
        otherwise = f"{length} slots, of which the empty ones hold pad_doc"
    else:
        otherwise = f"without clicks, user = {scale}pad_doc"
    return (
        f"score = user . news\n"
        f"news  = {vector}   (h_j: last states of the text's tokens, special ones included)\n"
        f"user  = {scale}{attended.format(i='i', x='n_i')}   "
        f"(n_i: vectors of {clicks}; {otherwise})"
    )


def _stages_before(recommender: FinishedRecommender) -> dict[str, str]:
    """Folder names of teachers and of other stages, or fingerprints of those that are gone."""
    after = recommender.made_from.get("after", [])
    places = (each.partition("/")[0] for each in recommender.made_from.get("teachers", "").split())
    teachers = list(dict.fromkeys(after[int(place)] for place in places))

    def named(fingerprint: str) -> str:
        beside = sorted(recommender.folder.resolve().parent.glob(f"*-{fingerprint}"))
        return f"`{beside[0].name if beside else fingerprint}`"

    others = [fingerprint for fingerprint in after if fingerprint not in teachers]
    return {"teachers": ", ".join(map(named, teachers)), "after": ", ".join(map(named, others))}
