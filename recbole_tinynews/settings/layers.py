"""Reads the yaml that declares a news recommender's settings: overall, of stages, of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from recbole_tinynews.settings.declared import NAMES
from recbole_tinynews.settings.literals import read_yaml
from recbole_tinynews.settings.names import recbole_overall_settings, split_stage

AS_IN = "as_in"  # in a stage's yaml: {another stage: [names of settings that have its values]}
WITH_WORDS = "with_words"  # in a stage's yaml: {setting: its value for who reads by word vectors}
METRICS_SETTING = "metrics"  # in a stage's yaml: shown in addition to those of the run


class Layer(NamedTuple):
    """Settings from one source, and its name for messages."""

    source: str
    values: Mapping[str, Any]


class StageYaml(NamedTuple):
    """The yaml file of a stage.

    Attributes:
        file: its path.
        declares: the settings that only this file declares.
        with_words: values that hold for a model that reads by word vectors, unless a user sets
            them for the stage.
    """

    file: Path
    declares: frozenset[str]
    with_words: Mapping[str, Any]


class NewsYaml(NamedTuple):
    """The settings that yaml files declare for a news recommender, before data set and user.

    Attributes:
        declared: the default of every existing setting, by its plain name.
        values: what the files set, with or without a stage's prefix; over RecBole's own yaml.
        stages: the stages that can have settings of their own, by name.
        layers: values with a stage's prefix, which override declared ones.
    """

    declared: dict[str, Any]
    values: dict[str, Any]
    stages: dict[str, StageYaml]
    layers: list[Layer]


def read_news_yaml(overall: Path, stages: Mapping[str, Path], models: Sequence[Path]) -> NewsYaml:
    """Read the files, later over earlier: overall, stages, models.

    A key in a stage's yaml is the stage's default for that setting. If no other yaml declares the
    setting, this one declares it, with a default for all stages.

    Args:
        overall: the settings of every news recommender.
        stages: the yaml file of each stage by its name.
        models: the yaml files of the recommender's bases, then its own. A user's files, which are
            not in the folder of ``overall``, don't change what the package's stages declare.

    Raises:
        ValueError: a file is no settings file, a stage's name is a prefix of a setting's or of
            another stage's, or ``as_in`` names a stage or setting that does not exist.
    """
    _check_stage_names(stages)
    yaml = NewsYaml(recbole_overall_settings(), {}, {}, [])
    of_models = {file: read_yaml(file) for file in models}
    _add(yaml, overall, read_yaml(overall), stages)
    for stage, file in stages.items():
        is_packaged = overall.parent in file.parents
        known = set(yaml.declared)
        for beside, values in of_models.items():
            if not is_packaged or overall.parent in beside.parents:
                known |= values.keys()
        values = _values_of_stage(stage, stages)
        with_words = values.pop(WITH_WORDS, {})
        declares = frozenset(values.keys() - known)
        yaml.stages[stage] = StageYaml(file, declares, with_words)
        named = {name if name in declares else f"{stage}_{name}": v for name, v in values.items()}
        _add(yaml, file, named, stages)
    for file, values in of_models.items():
        _add(yaml, file, values, stages)
    return yaml


def _add(yaml: NewsYaml, file: Path, values: Mapping[str, Any], stages: Mapping[str, Path]) -> None:
    of_stages = {name: v for name, v in values.items() if split_stage(name, stages)[0]}
    yaml.values.update(values)
    yaml.declared.update({name: v for name, v in values.items() if name not in of_stages})
    if file in stages.values():  # only a stage's own yaml may name its metrics
        of_stages = {
            n: v for n, v in of_stages.items() if split_stage(n, stages)[1] != METRICS_SETTING
        }
    yaml.layers.append(Layer(f"file {file}", of_stages))


def _values_of_stage(stage: str, files: Mapping[str, Path]) -> dict[str, Any]:
    """The values in a stage's yaml, with those that it takes over from another stage's yaml.

    They come from the file: what a user sets for the other stage holds for that stage alone.
    """
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
    """Refuse a stage called ``finetune``, whose ``layers`` would be ``finetune_layers``."""
    names = [*recbole_overall_settings(), *sorted(NAMES), *stages]
    for stage, file in stages.items():
        taken = next((name for name in names if name.startswith(f"{stage}_")), None)
        if taken is not None:
            raise ValueError(
                f"The stage {stage} ({file}) expects a name that begins no other one, and {taken} "
                "begins with it: a setting would be taken for the stage's own. Rename the file."
            )
