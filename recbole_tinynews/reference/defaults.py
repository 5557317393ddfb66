"""Defaults of settings by model, stage and data set, and meanings, from yaml and docstrings."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from recbole_tinynews.paths import packaged_folder
from recbole_tinynews.registry import MODELS, named_files, overall_yaml, recbole_yaml_folder
from recbole_tinynews.settings import layers
from recbole_tinynews.settings.declared import Models, recbole_lists, unread_by
from recbole_tinynews.settings.layering import WITH_PLM
from recbole_tinynews.settings.literals import read_yaml
from recbole_tinynews.settings.names import (
    parse_key,
    recbole_model_settings,
    recbole_overall_files,
    recbole_overall_settings,
)

_SETTING = re.compile(r"(?P<name>\w+):[^#]*(?:#\s*(?:\((?P<kind>[^)]*)\))?\s*(?P<text>.*))?$")
_CONTINUED = re.compile(r"\s+#\s*(?P<text>.*)$")


class Meaning(NamedTuple):
    """The comment on a setting, ``# (kind) text``, which may span several lines."""

    kind: str
    text: str


NOTHING = Meaning("", "")


def meaning_of(name: str, files: Iterable[Path]) -> Meaning:
    """The meaning of a setting, from the last file that describes it."""
    said = [meaning for file in files if (meaning := meanings(file).get(name, NOTHING)).text]
    return said[-1] if said else NOTHING


@cache
def meanings(file: Path) -> dict[str, Meaning]:
    r"""Meanings of the settings in a yaml file.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "some.yaml")
    ...     _ = file.write_text("epochs: 4  # (int) Passes\n           #  over the clicks.\n")
    ...     meanings(file)
    {'epochs': Meaning(kind='int', text='Passes over the clicks.')}
    """
    found: dict[str, Meaning] = {}
    name = ""  # setting of the previous line
    for line in file.read_text(encoding="utf-8").splitlines():
        if declared := _SETTING.match(line):
            name = declared["name"]
            found[name] = Meaning(declared["kind"] or "", (declared["text"] or "").strip())
        elif name and (more := _CONTINUED.match(line)):
            kind, text = found[name]
            found[name] = Meaning(kind, f"{text} {more['text'].strip()}".strip())
        else:
            name = ""
    return found


def meaning_of_model(module: Path) -> str:
    """First sentence of the docstring of one of our recommenders' modules."""
    return _first_sentence(ast.get_docstring(_parse(module)) or "")


def meaning_of_recbole_model(file: Path, name: str) -> str:
    """First sentence of a RecBole class's docstring, or else the title of its paper."""
    tree = _parse(file)
    classes = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    of_class = [_first_sentence(ast.get_docstring(node) or "") for node in classes]
    quoted = re.search(r'"([^"]+)"', ast.get_docstring(tree) or "")
    title = " ".join(quoted[1].split()).rstrip(".") if quoted else ""
    return next(filter(None, of_class), title)


def _parse(file: Path) -> ast.Module:
    with warnings.catch_warnings():  # RecBole's docstrings contain formulas with backslashes
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)  # its category before Python 3.12
        return ast.parse(file.read_text(encoding="utf-8"))


def _first_sentence(docstring: str) -> str:
    paragraph = " ".join(docstring.partition("\n\n")[0].split())
    sentence, stop, _ = paragraph.partition(". ")
    return sentence + stop.strip()


_KINDS = {
    "overall": "All news recommenders",
    "impressions": "All without a language model",
    "recbole": "All of RecBole's models, on impressions",
}


class Described(NamedTuple):
    """A setting with its default and meaning."""

    name: str
    default: Any
    meaning: Meaning


class Section(NamedTuple):
    """Related settings, such as those of a stage."""

    title: str
    settings: list[Described]


@cache
def stage_files() -> Mapping[str, Path]:
    """The yaml file of each stage, by name."""
    return named_files("PLMNR").stages


@cache
def news_yaml(model: str) -> layers.NewsYaml:
    """Declarations in the yaml files of one of our models."""
    return layers.read_news_yaml(named_files(model))


@cache
def defaults_of(model: str) -> dict[str, Any]:
    """Defaults of all settings of a model, on impressions."""
    ours = model in MODELS
    return news_yaml(model).declared if ours else layers.recbole_declared(named_files(model))


def read_by(model: str) -> dict[str, Any]:
    """Defaults of the settings that the model reads."""
    unread = {*unread_by(Models.NEWS if model in MODELS else Models.RECBOLE_ON_IMPRESSIONS)}
    if model in MODELS and not MODELS[model].reads_text:
        shared = read_yaml(named_files(model).overall)
        unread |= {*recbole_lists()["training_arguments"]} - shared.keys()
    return {name: value for name, value in defaults_of(model).items() if name not in unread}


@cache
def files_about(model: str) -> list[Path]:
    """Yaml files that describe a model's settings, most specific last."""
    return [*files_about_all(), named_files(model).overall, *named_files(model).own]


def files_about_all() -> list[Path]:
    """Yaml files that describe settings of all models."""
    return [*recbole_overall_files(), *stage_files().values(), overall_yaml("overall")]


def sections(model: str) -> Iterator[Section]:
    """All settings of a model: its own, its kind's, those of stages, RecBole's."""
    left, files = dict(read_by(model)), files_about(model)

    def taken(title: str, names: Iterator[str]) -> Section:
        known = [name for name in names if name in left]
        return Section(title, [Described(n, left.pop(n), meaning_of(n, files)) for n in known])

    yield taken(model, _plain_names(named_files(model).own))
    yield taken(_KINDS[named_files(model).overall.stem], _plain_names([named_files(model).overall]))
    if model in MODELS and MODELS[model].reads_text:
        yield from _of_stages(model, left)
    yield taken("RecBole's", iter(sorted(left)))


def sections_of_all() -> Iterator[Section]:
    """Settings of all news recommenders, then those of single ones."""
    *shared, recboles = sections("PLMNR")
    yield from shared
    known = {each.name for section in (*shared, recboles) for each in section.settings}
    further = {
        name: models
        for name, models in every_setting().items()
        if name not in known and not MODELS.keys().isdisjoint(models)
    }
    described = []
    for name, models in further.items():
        ours = [model for model in models if model in MODELS]
        kind, text = meaning_of(name, files_about(ours[0]))
        meaning = Meaning(kind, f"{text} [{', '.join(ours)}]")
        described.append(Described(name, defaults_of(ours[0])[name], meaning))
    yield Section("Of the models in brackets, with the first one's default", described)
    yield recboles


def _of_stages(model: str, left: dict[str, Any]) -> Iterator[Section]:
    """Defaults of single stages, and settings that only one stage declares."""
    yaml = news_yaml(model)
    for stage, file in stage_files().items():
        values = {key.name: value for key, value in yaml.values.items() if key.stage == stage}
        values.pop(layers.METRICS_SETTING, None)
        files = [*files_about_all(), file]
        own = [Described(name, value, meaning_of(name, files)) for name, value in values.items()]
        declared = sorted(yaml.stages[stage].declares & left.keys())
        meant = [Described(name, left.pop(name), meanings(file)[name]) for name in declared]
        if own:
            yield Section(f"Stage {stage}, as --{stage}_NAME", own)
        if meant:
            yield Section(f"Stage {stage} alone", meant)


def of_data_sets(name: str) -> Iterator[tuple[str, Any]]:
    """File name and value for each data set yaml with the setting."""
    for file, values in _yaml_files_in(packaged_folder("properties") / "dataset").items():
        if name in values:
            yield f"{file}.yaml", values[name]
        for plm, suited in values.get(WITH_PLM, {}).items():
            if name in suited:
                yield f"{file}.yaml, plm: {plm}", suited[name]


@cache
def every_setting() -> dict[str, list[str]]:
    """Models by setting; ``RecBole`` stands for its own models."""
    found: dict[str, list[str]] = {}
    for model in MODELS:
        for name in read_by(model):
            found.setdefault(name, []).append(model)
    of_recbole = {*recbole_overall_settings(), *recbole_model_settings()}
    for file in (*recbole_yaml_folder().glob("*.yaml"), overall_yaml("recbole")):
        of_recbole |= read_yaml(file).keys()
    for name in sorted(of_recbole - unread_by(Models.RECBOLE_ON_IMPRESSIONS)):
        found.setdefault(name, []).append("RecBole")
    return found


def recbole_values(name: str) -> dict[str, Any]:
    """Defaults of a setting by RecBole model that declares it."""
    files = _yaml_files_in(recbole_yaml_folder())
    return {model: values[name] for model, values in files.items() if name in values}


@cache
def _yaml_files_in(folder: Path) -> dict[str, dict[str, Any]]:
    return {file.stem: read_yaml(file) for file in sorted(folder.glob("*.yaml"))}


def stages_declaring(name: str) -> list[str]:
    """Stages whose yaml files alone declare a setting, or share it by ``as_in``."""
    if name in read_yaml(overall_yaml("overall")) or name in recbole_overall_settings():
        return []
    found = [stage for stage, file in stage_files().items() if name in read_yaml(file)]
    models = {each for model in MODELS for each in _plain_names(named_files(model).own)}
    if not found or name in models:
        return []
    shared = {stage: read_yaml(file).get(layers.AS_IN, ()) for stage, file in stage_files().items()}
    return sorted({*found, *(stage for stage, of in shared.items() if {*of} & {*found})})


def _plain_names(files: list[Path]) -> Iterator[str]:
    names = [name for file in files for name in read_yaml(file)]
    return iter(dict.fromkeys(n for n in names if parse_key(n, stage_files()).stage is None))
