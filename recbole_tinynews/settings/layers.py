"""Reads the yaml files that declare a model's settings, and the settings that a user gives."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from recbole_tinynews.paths import packaged_folder, recbole_folder
from recbole_tinynews.settings.command_line import TEXT_SETTINGS, parse_command_line
from recbole_tinynews.settings.declared import NAMES
from recbole_tinynews.settings.literals import parse_value, read_yaml
from recbole_tinynews.settings.names import (
    Key,
    parse_keys,
    recbole_model_settings,
    recbole_overall_settings,
)

Files = Sequence[str | Path] | str | Path | None
AS_IN = "as_in"  # in a stage's yaml: {another stage: [settings whose values it shares]}
WITH_WORDS = "with_words"  # in a stage's yaml: {setting: its value for models with word vectors}
_CODE = Path(__file__).resolve().parents[1]  # a yaml may lie beside its recommender
METRICS_SETTING = "metrics"  # in a stage's yaml: reported in addition to the run's


class Layer(NamedTuple):
    """Values from one source, which is named in messages."""

    source: str
    values: Mapping[Key, Any]


class ModelFiles(NamedTuple):
    """Yaml files that declare a model's settings."""

    overall: Path  # for all models of its kind
    stages: Mapping[str, Path]
    own: list[Path]  # of the bases, weakest first, and of the class itself

    @property
    def of_users(self) -> list[Path]:
        """Files of users' classes, beside their modules."""
        return [file for file in self.own if not is_shipped(file, recbole_folder())]


def is_shipped(file: Path, *others: Path) -> bool:
    """Whether a file comes with the package (or lies in other folders): it is no user's."""
    shipped = packaged_folder("properties"), _CODE, *others
    return any(each in file.parents for each in shipped)


class StageYaml(NamedTuple):
    """The yaml file of a stage."""

    file: Path
    declares: frozenset[str]  # settings that no other file declares
    with_words: Mapping[str, Any]  # defaults for models with word vectors


class NewsYaml(NamedTuple):
    """Declared settings of a news recommender, before data set and user."""

    declared: dict[str, Any]
    values: dict[Key, Any]  # of the run and of stages, without RecBole's
    stages: dict[str, StageYaml]
    layers: list[Layer]  # values of single stages


def recbole_declared(files: ModelFiles, on_impressions: bool = True) -> dict[str, Any]:
    """Defaults of all settings of one of RecBole's models, or of a class derived from one."""
    declared = {**recbole_overall_settings(), **recbole_model_settings()}
    own = files.of_users
    stock = [file for file in files.own if file not in own]
    for file in [*stock, *([files.overall] if on_impressions else []), *own]:
        declared |= read_yaml(file)
    return declared


def read_news_yaml(files: ModelFiles) -> NewsYaml:
    """Read a recommender's files, of which a stage's may declare settings; else ``ValueError``."""
    overall, stages, own = files
    _check_stage_names(stages)
    yaml = NewsYaml(recbole_overall_settings(), {}, {}, [])
    values_of = {file: parse_keys(read_yaml(file), stages) for file in own}
    of_users = files.of_users
    _add(yaml, overall, parse_keys(read_yaml(overall), stages))
    for stage, file in stages.items():
        is_packaged = overall.parent in file.parents
        known = set(yaml.declared)
        for own_file, values in values_of.items():
            if not is_packaged or own_file not in of_users:
                known |= {key.name for key in values if key.stage is None}
        of_stage = _values_of_stage(stage, stages)
        with_words = of_stage.pop(WITH_WORDS, {})
        declares = frozenset(of_stage.keys() - known)
        yaml.stages[stage] = StageYaml(file, declares, with_words)
        _add(
            yaml,
            file,
            {Key(None if n in declares else stage, n): v for n, v in of_stage.items()},
            unchecked=METRICS_SETTING,  # only a stage's own yaml may name its metrics
        )
    for file, values in values_of.items():
        _add(yaml, file, values)
    return yaml


def _add(yaml: NewsYaml, file: Path, values: Mapping[Key, Any], unchecked: str = "") -> None:
    of_stages = {key: v for key, v in values.items() if key.stage and key.name != unchecked}
    yaml.values.update(values)
    yaml.declared.update({key.name: v for key, v in values.items() if key.stage is None})
    yaml.layers.append(Layer(f"file {file}", of_stages))


def _values_of_stage(stage: str, files: Mapping[str, Path]) -> dict[str, Any]:
    """Values in a stage's yaml, including those that ``as_in`` copies from another stage's yaml."""
    values = read_yaml(files[stage])
    as_in = values.pop(AS_IN, {})
    if not isinstance(as_in, Mapping) or not all(isinstance(v, list) for v in as_in.values()):
        raise ValueError(
            f"{AS_IN} ({files[stage]}) expects {{stage: [settings]}}, got {as_in!r}. "
            "Name the stage, and a list of settings of its yaml."
        )
    for other, names in as_in.items():
        there = read_yaml(files[other]) if other in files else {}
        missing = [name for name in names if name not in there]
        if missing or other not in files:
            raise ValueError(
                f"{AS_IN} ({files[stage]}) expects settings of the yaml of another stage, got "
                f"{', '.join(map(str, missing)) or 'nothing'} of {other}. Set them in this file."
            )
        values = {**{name: there[name] for name in names}, **values}
    return values


def _check_stage_names(stages: Mapping[str, Path]) -> None:
    """Refuse names like ``finetune``, with which ``finetune_layers`` would set ``layers``."""
    names = [*recbole_overall_settings(), *sorted(NAMES), *stages]
    for stage, file in stages.items():
        taken = next((name for name in names if name.startswith(f"{stage}_")), None)
        if taken is not None:
            raise ValueError(
                f"The stage {stage} ({file}) expects a name that begins no other one, and {taken} "
                "begins with it: a setting would be taken for the stage's own. Rename the file."
            )


def settings_of_others(
    stage: str,
    stages: Mapping[str, StageYaml],
    of_stage: ModelFiles,
    of_system: ModelFiles,
    is_last: bool,
    is_student: bool,
) -> set[str]:
    """Settings declared only by the yaml of the system or of another stage.

    A student ignores only settings declared outside the package: another weight of a user's own
    loss does not retrain Stage I. A user's own stage may read every setting.
    """
    ours = {name for name, each in stages.items() if is_shipped(each.file)}
    if stage not in ours and not is_last:
        return set()
    others = _names_in(of_system.own)
    shared = _names_in([of_stage.overall, *of_stage.own])
    for other, yaml in stages.items():
        if other == stage or (is_student and other in ours):
            shared |= yaml.declares
        elif other in ours or stage in ours:
            others |= yaml.declares
    if is_student:
        shared |= _names_in(file for file in of_system.own if is_shipped(file))
    return others - shared - recbole_overall_settings().keys()


def _names_in(files: Iterable[Path]) -> set[str]:
    return {name for file in files for name in read_yaml(file)}


class Given(NamedTuple):
    """User settings."""

    sources: list[tuple[str, dict[str, Any]]]  # weakest first
    switches: list[str]  # flags without a value, which mean true
    mistakes: list[str]  # unreadable files and arguments

    @property
    def values(self) -> dict[str, Any]:
        """All values; later sources override."""
        return {name: value for _, values in self.sources for name, value in values.items()}

    def layers(self, stages: Collection[str]) -> list[Layer]:
        """Layers for a model with these stages."""
        return [Layer(source, parse_keys(values, stages)) for source, values in self.sources]


def read_given(
    files: Files, config_dict: Mapping[str, Any] | None, command_line: Sequence[str]
) -> Given:
    """Read yaml files, then a dict, then ``--key=value`` arguments."""
    sources: list[tuple[str, dict[str, Any]]] = []
    mistakes: list[str] = []
    for file in [files] if isinstance(files, (str, Path)) else files or ():
        try:
            sources.append((f"file {file}", read_yaml(file)))
        except ValueError as error:
            mistakes.append(str(error))
    of_dict = {
        name: parse_value(value) if isinstance(value, str) and name not in TEXT_SETTINGS else value
        for name, value in (config_dict or {}).items()
    }
    arguments = parse_command_line(command_line)
    sources += [("config_dict", of_dict), ("command line", arguments.values)]
    return Given(sources, arguments.switches, [*mistakes, *arguments.problems])
