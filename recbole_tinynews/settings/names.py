"""Names of settings: RecBole's, those declared in yaml, and their variants for single stages."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from recbole_tinynews.paths import recbole_folder
from recbole_tinynews.settings.declared import (
    Models,
    Scope,
    known_without_yaml,
    recbole_lists,
    setting,
)
from recbole_tinynews.settings.literals import read_yaml

FINETUNE_TEACHER = "finetune_teacher"
OF_TEACHERS = "_teacher"  # suffix of the stages that train teachers
_LONGEST_NAME = 100  # characters that are compared to find similar names


class Key(NamedTuple):
    """A setting of one stage; with stage None, of the run, and the fallback of every stage.

    >>> str(Key("finetune_teacher", "epochs")), str(Key(None, "epochs"))
    ('finetune_teacher_epochs', 'epochs')
    """

    stage: str | None
    name: str

    def __str__(self) -> str:
        return f"{self.stage}_{self.name}" if self.stage else self.name


def parse_key(text: str, stages: Collection[str]) -> Key:
    """Split a stage's name, if any, off the name of a setting.

    >>> parse_key("warm_up_epochs", ["warm_up"])
    Key(stage='warm_up', name='epochs')
    """
    for stage in stages:
        if text.startswith(f"{stage}_"):
            return Key(stage, text.removeprefix(f"{stage}_"))
    return Key(None, text)


def parse_keys(values: Mapping[str, Any], stages: Collection[str]) -> dict[Key, Any]:
    """Values of a yaml file or command line, by parsed key."""
    return {parse_key(text, stages): value for text, value in values.items()}


def seen_by_stage(stage: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a finished run as one of its stages sees them; see ``Layering.overrides``.

    >>> seen_by_stage("finetune_teacher", {"epochs": 4, "finetune_teacher_epochs": 1})["epochs"]
    1
    """
    seen = dict(settings)
    if stage.endswith(OF_TEACHERS) and "teacher_num_hidden_layers" in settings:
        seen["num_hidden_layers"] = settings["teacher_num_hidden_layers"]
    return seen | {k.name: v for k, v in parse_keys(settings, [stage]).items() if k.stage}


def recbole_overall_settings() -> dict[str, Any]:
    """RecBole's settings for every model; None where it declares no default."""
    names = [name for names in recbole_lists().values() for name in names]
    declared = dict.fromkeys([*names, *known_without_yaml(Models.EVERY)])
    for file in recbole_overall_files():
        declared |= read_yaml(file)
    return declared


def recbole_overall_files() -> list[Path]:
    """RecBole's yaml files for every model; later ones override."""
    properties = recbole_folder() / "properties"
    return [properties / "dataset" / "sample.yaml", properties / "overall.yaml"]


def recbole_model_settings() -> dict[str, Any]:
    """Settings in RecBole's quick-start yaml files, for any of its models."""
    names = known_without_yaml(Models.OF_RECBOLE)
    for file in (recbole_folder() / "properties" / "quick_start_config").glob("*.yaml"):
        names += read_yaml(file)
    return dict.fromkeys(names)


def unknown_setting(
    key: Key, declared: Mapping[str, Any], stages: Collection[str] = ()
) -> str | None:
    """Error message for an undeclared name or a run-wide setting of a stage; None if valid."""
    of_run = setting(key.name).scope is Scope.RUN
    if key.name in declared:
        if not (key.stage and of_run):
            return None
        return f"holds for the whole run, not for a stage. Set {key.name}"
    per_stage = [each for each in declared if setting(each).scope is Scope.STAGE]
    candidates = [*declared, *(f"{stage}_{name}" for stage in stages for name in per_stage)]
    written = str(key)[:_LONGEST_NAME]
    if nearest := difflib.get_close_matches(written, candidates, n=1):
        return f"is no setting. Did you mean {nearest[0]}?"
    similar = difflib.get_close_matches(written, candidates, n=3, cutoff=0.4)
    hint = f" The nearest are {', '.join(similar)}." if similar else ""
    return f"is no setting of this model.{hint} Declare a new one in the yaml beside the model"
