"""Which settings exist: RecBole's, the yaml-declared ones, and both with a stage's prefix."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from recbole_tinynews.paths import recbole_folder
from recbole_tinynews.settings.declared import Models, Scope, known_without_yaml, setting
from recbole_tinynews.settings.literals import read_yaml
from recbole_tinynews.settings.recbole_lists import recbole_lists

_OF_TEACHERS = "_teacher"  # such stages have ``teacher_num_hidden_layers`` layers


def recbole_overall_settings() -> dict[str, Any]:
    """RecBole's settings for every model, with their defaults where it declares them."""
    names = [name for names in recbole_lists().values() for name in names]
    defaults = [read_yaml(file) for file in recbole_overall_files()]
    return {
        **dict.fromkeys([*names, *known_without_yaml(Models.EVERY)]),
        **{name: value for values in defaults for name, value in values.items()},
    }


def recbole_overall_files() -> list[Path]:
    """RecBole's yaml files of the settings of every model, later over earlier."""
    properties = recbole_folder() / "properties"
    return [properties / "dataset" / "sample.yaml", properties / "overall.yaml"]


def recbole_model_settings() -> dict[str, Any]:
    """What RecBole's own models share beyond that: the settings of its quick-start yaml files."""
    names = known_without_yaml(Models.OF_RECBOLE)
    for file in (recbole_folder() / "properties" / "quick_start_config").glob("*.yaml"):
        names += read_yaml(file)
    return dict.fromkeys(names)


def split_stage(name: str, stages: Collection[str]) -> tuple[str | None, str]:
    """Split a name into the stage that is its prefix (None: no stage is) and the plain name.

    >>> split_stage("warm_up_epochs", ["warm_up"]), split_stage("epochs", ["warm_up"])
    (('warm_up', 'epochs'), (None, 'epochs'))
    """
    for stage in stages:
        if name.startswith(f"{stage}_"):
            return stage, name.removeprefix(f"{stage}_")
    return None, name


def settings_of_stage(stage: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as ``stage`` sees them: its own values where it has them, else the plain ones.

    >>> settings_of_stage("finetune_teacher", {"epochs": 4, "finetune_teacher_epochs": 1})["epochs"]
    1
    """
    seen = dict(settings)
    if stage.endswith(_OF_TEACHERS) and "teacher_num_hidden_layers" in settings:
        seen["num_hidden_layers"] = settings["teacher_num_hidden_layers"]
    for name, value in settings.items():
        of_stage, plain = split_stage(name, [stage])
        if of_stage:
            seen[plain] = value
    return seen


def plain_name(name: str, declared: Mapping[str, Any], stages: Collection[str]) -> str:
    """The declared setting that ``name`` sets, without the prefix of a stage."""
    return name if name in declared else split_stage(name, stages)[1]


def unknown_setting(
    name: str, declared: Mapping[str, Any], stages: Collection[str] = ()
) -> str | None:
    """What is wrong with the name of a setting, or None where it is a declared one.

    Args:
        name: the name as it was given.
        declared: every setting of the model, by its plain name.
        stages: those that may have settings of their own.
    """
    stage, plain = split_stage(name, stages)
    of_run = setting(plain).scope is Scope.RUN
    if name in declared or (stage and plain in declared and not of_run):
        return None
    if stage and plain in declared:
        return f"holds for the whole run, not for a stage. Set {plain}"
    per_stage = [each for each in declared if setting(each).scope is Scope.STAGE]
    candidates = [*declared, *(f"{each}_{plain}" for each in stages for plain in per_stage)]
    nearest = difflib.get_close_matches(name, candidates, n=1)
    if nearest:
        return f"is no setting. Did you mean {nearest[0]}?"
    return "is no setting of this model. Declare a new one in the yaml beside the model"
