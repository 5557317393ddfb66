"""The model card of an export: ``README.md``, with yaml metadata for the model hub."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from recbole_tinynews import __version__
from recbole_tinynews.encoder.plm_files import PACKAGE_PREFIX
from recbole_tinynews.files.columns import TITLE
from recbole_tinynews.installing import pip_install
from recbole_tinynews.paths import packaged_folder
from recbole_tinynews.pipeline.artifact import saved_test_result
from recbole_tinynews.serving.export.formats import Format, find_format
from recbole_tinynews.serving.export.source import Source
from recbole_tinynews.serving.export.usage import GIVEN, formula

UNKNOWN = "unknown"
OURS = "MIT"  # of this package and its data
METRICS = {"auc": "AUC", "mrr": "MRR", "ndcg@5": "nDCG@5", "ndcg@10": "nDCG@10"}


def licence_of_data(folder: Path | None) -> str:
    """The licence of a data set; only those of embedded ones are known."""
    return OURS if folder is not None and _embedded(folder) else UNKNOWN


def licence_of_plm(plm: str, places: list[Path]) -> str:
    """Licence of the language model ``plm``, perhaps in ``places``, by its package or card."""
    if plm.startswith(PACKAGE_PREFIX):
        return _of_package(plm.removeprefix(PACKAGE_PREFIX))
    for folder in (place / plm for place in places):
        if folder.is_dir():
            return OURS if _embedded(folder) else _of_card(folder / "README.md")
    return UNKNOWN


def hub_name(plm: str, places: list[Path]) -> str | None:
    """``ORG/NAME`` of a language model on the model hub, if it is from there."""
    local = plm.startswith(PACKAGE_PREFIX) or any((place / plm).is_dir() for place in places)
    return None if local or Path(plm).is_absolute() or plm.count("/") != 1 else plm


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
    found = re.search(r"\A---\n(?:.*\n)*?license: *(\S+)", card.read_text(encoding="utf-8"))
    return found[1] if found else UNKNOWN


class Origins(NamedTuple):
    """Licences of the data set and of the language model, and the latter's name on the hub."""

    data_license: str
    plm_license: str
    base_model: str | None


def model_card(
    source: Source, to: str, checked: Mapping[str, Any], origins: Origins, size: int
) -> str:
    """Text of the card; ``checked`` as in ``Description``, ``size`` of the files in bytes."""
    wanted = find_format(to)
    head = _head(source, to, checked, origins)
    lines = (
        "---",
        yaml.safe_dump(head, sort_keys=False, allow_unicode=True) + "---",
        *_what(source),
        *_use(source, wanted),
        *_results(source, checked),
        *_differences(wanted, checked),
        *_sizes(source, size),
        *_made(source, origins),
    )
    return "\n".join(lines) + "\n"


def _head(source: Source, to: str, checked: Mapping[str, Any], origins: Origins) -> dict[str, Any]:
    wanted = find_format(to)
    head: dict[str, Any] = {
        "library_name": wanted.library,
        "pipeline_tag": wanted.task,
        "tags": ["news-recommendation", "recbole", "recbole_tinynews", to],
        "license": _licence(origins),
    }
    if origins.base_model is not None:
        head["base_model"] = origins.base_model
    ranked, results = next(iter(_results_of(source, checked).items()))
    metrics = [
        {"type": key, "name": f"{label} ({ranked})", "value": results[key]}
        for key, label in METRICS.items()
        if key in results
    ]
    if metrics:
        name = source.settings["dataset"]
        task = {"type": "text-ranking", "name": "News recommendation"}
        result = {"task": task, "dataset": {"type": name, "name": name}, "metrics": metrics}
        head["model-index"] = [{"name": source.name, "results": [result]}]
    return head


def _licence(origins: Origins) -> str:
    both = {origins.data_license, origins.plm_license}
    if UNKNOWN in both:
        return UNKNOWN
    return origins.plm_license.lower() if len(both) == 1 else "other"


def _results_of(source: Source, checked: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Metrics by label: the export's own, or else those saved for test, or else for validation."""
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
        f"into a vector of {settings['news_dim']} numbers, and a user encoder turns the vectors of "
        f"the {settings['history_length']} newest clicks into a user vector. The score of an "
        "article for a user is their dot product."
    )


def _use(source: Source, wanted: Format) -> Iterator[str]:
    yield f"\n## Use\n\n```text\n{formula(source.settings)}\n```"
    yield f"\nWithout this package:\n\n```python\n{GIVEN}"
    yield f"{wanted.example(source.settings)}\n```"
    yield f"\nWith this package (`{pip_install()}`, where its checkout or wheel lies):"
    yield "\n```python\nimport recbole_tinynews\n"
    yield 'recommender = recbole_tinynews.load("...")  # the folder of this file'
    yield 'recommender.rank(["Striker signs for rivals"], ["Champions win the cup"])\n```'
    if source.settings["news_text"] != TITLE:
        yield "\nA text is the title, `. ` and the abstract."
    if source.settings["text_prefix"]:
        yield f"\nEach text begins with `{source.settings['text_prefix']}`."


def _results(source: Source, checked: Mapping[str, Any]) -> Iterator[str]:
    yield f"\n## Results on {source.settings['dataset']}, per impression\n"
    yield from _table(
        ["", *METRICS.values(), "impressions"],
        [
            [label, *(_number(found.get(key)) for key in (*METRICS, "impressions"))]
            for label, found in _results_of(source, checked).items()
        ],
    )
    measured = checked.get("metrics", {})
    if "fp32" in measured:
        lost = 100 * (measured["fp32"]["auc"] - measured["exported"]["auc"])
        yield f"\nAUC lost by int8: {lost:.2f} points."


def _differences(wanted: Format, checked: Mapping[str, Any]) -> Iterator[str]:
    yield "\n## Compared with the recommender's own code\n"
    yield (
        f"Largest differences over {checked['texts']} texts, including an empty one and a single "
        f"word: {checked['vectors']:.1e} in vectors, {checked['scores']:.1e} in scores."
    )
    if wanted.note:
        yield f"\n{wanted.note}"


def _sizes(source: Source, size: int) -> Iterator[str]:
    plm = sum(each.numel() for each in source.text_encoder.plm.parameters())
    whole = sum(each.numel() for each in source.model.parameters())
    width = source.text_encoder.hidden_size
    yield "\n## Size\n"
    yield from _table(
        ["layers", "width", "parameters", "of the language model", "files"],
        [[str(source.depth), str(width), f"{whole:,}", f"{plm:,}", f"{size / 1e6:.1f} MB"]],
    )


def _made(source: Source, origins: Origins) -> Iterator[str]:
    yield "\n## How it was made\n"
    seed = source.settings["seed"]
    yield f"- by recbole_tinynews {__version__}, as `{source.folder.name}`, seed {seed}"
    plm = Path(source.plm)  # of an absolute path, the card names only the folder
    name = plm.name if plm.is_absolute() else source.plm
    yield f"- language model: `{name}`, licence {origins.plm_license}"
    data, content = source.settings["dataset"], source.made_from.get("data", UNKNOWN)
    yield f"- data: `{data}` (content {content}), licence {origins.data_license}"
    teachers = source.teachers
    before = [each for each in source.made_from.get("after", []) if each not in teachers]
    for role, stages in (("teachers", teachers), ("after", before)):
        if stages:
            yield f"- {role}: {', '.join(f'`{source.stage_named(each)}`' for each in stages)}"
    yield "- settings: " + ", ".join(
        f"`{name}: {value}`" for name, value in source.training.items()
    )


def _number(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else f"{value:,}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(row)} |"


def size_of(folder: Path) -> int:
    """Total size in bytes of the files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
