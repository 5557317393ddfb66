"""The model card of an export, ``README.md``, with the yaml head that the model hub reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from recbole_tinynews import __version__
from recbole_tinynews.pipeline.artifact import saved_test_result
from recbole_tinynews.serving.export.description import NEWS_TOKENS
from recbole_tinynews.serving.export.origins import UNKNOWN
from recbole_tinynews.serving.export.source import Source

METRICS = {"auc": "AUC", "mrr": "MRR", "ndcg@5": "nDCG@5", "ndcg@10": "nDCG@10"}
LIBRARIES = {
    "hf": "transformers",
    "sentence-transformers": "sentence-transformers",
    "onnx": "onnx",
    "onnx-int8": "onnx",
    "torch-int8": "pytorch",
}
USES = {
    "hf": """from transformers import AutoModel, AutoTokenizer

language_model = AutoModel.from_pretrained(FOLDER)
tokenizer = AutoTokenizer.from_pretrained(FOLDER)""",
    "sentence-transformers": """from sentence_transformers import SentenceTransformer

news_vectors = SentenceTransformer(FOLDER).encode(["Champions win the cup"])""",
    "onnx": """import onnxruntime
from transformers import AutoTokenizer

graph = onnxruntime.InferenceSession(FOLDER + "/news_encoder.onnx")
tokens = AutoTokenizer.from_pretrained(FOLDER)(
    ["Champions win the cup"], padding=True, truncation=True, max_length=MAX_LENGTH,
    return_tensors="np", return_token_type_ids=False,
)
(news_vectors,) = graph.run(None, dict(tokens))""",
}
USES["onnx-int8"] = USES["onnx"]


class Origins(NamedTuple):
    """What is known of the data, and of the language model that training started from.

    Attributes:
        data_license: of the data set.
        plm_license: of the language model.
        base_model: its name on the model hub, if it has one.
    """

    data_license: str
    plm_license: str
    base_model: str | None


def model_card(
    source: Source, to: str, checked: Mapping[str, Any], origins: Origins, size: int
) -> str:
    """The text of the card.

    Args:
        source: what was exported.
        to: the format.
        checked: what was measured on the export (``Description.checked``).
        origins: what is known of what it was made from.
        size: of the export's files, in bytes.
    """
    head = yaml.safe_dump(_head(source, to, checked, origins), sort_keys=False, allow_unicode=True)
    sections = (
        _what(source),
        _use(source, to),
        _results(source, checked),
        _check(to, checked),
        _sizes(source, size),
        _made(source, origins),
    )
    return (
        "\n".join((f"---\n{head}---", *(line for section in sections for line in section))) + "\n"
    )


def _head(source: Source, to: str, checked: Mapping[str, Any], origins: Origins) -> dict[str, Any]:
    ranked, results = next(iter(_results_of(source, checked).items()))
    head: dict[str, Any] = {
        "library_name": LIBRARIES[to],
        "pipeline_tag": "sentence-similarity" if "sentence" in to else "feature-extraction",
        "tags": ["news-recommendation", "recbole", "recbole_tinynews", to],
        "license": _licence(origins),
    }
    if origins.base_model is not None:
        head["base_model"] = origins.base_model
    name = source.settings["dataset"]
    metrics = [
        {"type": key, "name": f"{label} ({ranked})", "value": results[key]}
        for key, label in METRICS.items()
        if key in results
    ]
    if metrics:
        task = {"type": "text-ranking", "name": "News recommendation"}
        result = {"task": task, "dataset": {"type": name, "name": name}, "metrics": metrics}
        head["model-index"] = [{"name": source.name, "results": [result]}]
    return head


def _licence(origins: Origins) -> str:
    """The head's licence: known only if those of all that it was made from are."""
    both = {origins.data_license, origins.plm_license}
    if UNKNOWN in both:
        return UNKNOWN
    return origins.plm_license.lower() if len(both) == 1 else "other"


def _results_of(source: Source, checked: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Metrics by what was ranked with what; the export's own come first.

    What was not measured on the export is what an evaluation has saved: on the same test
    impressions, or at least on those of the validation.
    """
    measured = checked.get("metrics")
    if measured is None:
        tested = saved_test_result(source.metrics, source.made_from.get("data"))
        if tested is None:
            return {"as trained, validation impressions": source.metrics["valid"]}
        return {"as trained, test impressions": tested}
    named = {"exported": "this export", "fp32": "as trained, fp32"}
    return {f"{named[name]}, test impressions": found for name, found in measured.items()}


def _what(source: Source) -> Iterator[str]:
    settings = source.settings
    yield f"\n# {source.name}, trained on {settings['dataset']}\n"
    yield (
        f"A news recommender: a language model of {source.depth} layers turns the "
        f"{'title and abstract' if settings['news_text'] != 'title' else 'title'} of an article "
        f"into a vector of {settings['news_dim']} numbers, a user encoder the vectors of the "
        f"{settings['history_length']} newest clicks into a user's. The dot product of both is the "
        "score of the article for the user."
    )


def _use(source: Source, to: str) -> Iterator[str]:
    yield "\n## Use\n\n```python"
    yield 'FOLDER = "..."  # of this file'
    if to in USES:
        yield USES[to].replace("MAX_LENGTH", str(source.settings[NEWS_TOKENS])) + "\n"
    yield "import recbole_tinynews  # clicks to scores\n"
    yield "recommender = recbole_tinynews.load(FOLDER)"
    yield 'recommender.rank(["Striker signs for rivals"], ["Champions win the cup"])\n```'
    if source.settings["text_prefix"]:
        yield f"\nEach text begins with `{source.settings['text_prefix']}`."


def _results(source: Source, checked: Mapping[str, Any]) -> Iterator[str]:
    results = _results_of(source, checked)
    yield f"\n## Results on {source.settings['dataset']}, per impression\n"
    yield from _table(
        ["", *METRICS.values(), "impressions"],
        [
            [label, *(_number(found.get(key)) for key in (*METRICS, "impressions"))]
            for label, found in results.items()
        ],
    )
    measured = checked.get("metrics", {})
    if "fp32" in measured:
        lost = 100 * (measured["fp32"]["auc"] - measured["exported"]["auc"])
        yield f"\nAUC lost by int8: {lost:.2f} points."


def _check(to: str, checked: Mapping[str, Any]) -> Iterator[str]:
    yield "\n## Compared with the recommender's own code\n"
    yield (
        f"Largest differences over {checked['texts']} texts, an empty one and one of a single word "
        f"among them: {checked['vectors']:.1e} in vectors, {checked['scores']:.1e} in scores."
    )
    if to == "onnx-int8":
        yield (
            "\nonnxruntime gives all inputs of a layer one scale, so a vector depends a little on "
            "the texts that are encoded together."
        )


def _sizes(source: Source, size: int) -> Iterator[str]:
    plm = sum(each.numel() for each in source.text_encoder.plm.parameters())
    whole = sum(each.numel() for each in source.model.parameters())
    yield "\n## Size\n"
    yield from _table(
        ["layers", "width", "parameters", "of the language model", "files"],
        [
            [
                str(source.depth),
                str(source.text_encoder.hidden_size),
                f"{whole:,}",
                f"{plm:,}",
                f"{size / 1e6:.1f} MB",
            ]
        ],
    )


def _made(source: Source, origins: Origins) -> Iterator[str]:
    yield "\n## How it was made\n"
    seed = source.settings["seed"]
    yield f"- by recbole_tinynews {__version__}, as `{source.folder.name}`, seed {seed}"
    yield f"- language model: `{source.plm_name}`, licence {origins.plm_license}"
    data, content = source.settings["dataset"], source.made_from.get("data", UNKNOWN)
    yield f"- data: `{data}` (content {content}), licence {origins.data_license}"
    teachers = source.teachers
    if teachers:
        yield f"- teachers: {', '.join(f'`{source.stage_named(each)}`' for each in teachers)}"
    before = [each for each in source.made_from.get("after", []) if each not in teachers]
    if before:
        yield f"- after: {', '.join(f'`{source.stage_named(each)}`' for each in before)}"
    yield "- settings: " + ", ".join(f"`{name}: {value}`" for name, value in source.training)


def _number(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else f"{value:,}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(row)} |"


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
