"""A model or trainer by name or class: ours, RecBole's own, or one outside the package."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import torch
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import get_model, get_trainer

from recbole_tinynews.paths import packaged_folder
from recbole_tinynews.reference.models import (
    model_names,
    model_yaml_folder,
    recbole_model_names,
    recbole_yaml_folder,
)
from recbole_tinynews.settings.nearest import suggest


def find_model(model: str | type) -> type:
    """The class of a model.

    A class is taken as it is, so that a recommender outside the package needs no registration.
    RecBole's ``get_model`` is asked only for names it has: any other ends in its import of
    lightgbm.

    Raises:
        ValueError: no model has this name, or the class is no recommender of RecBole.
    """
    if isinstance(model, type):
        if not issubclass(model, AbstractRecommender):
            raise ValueError(
                f"A model expects a subclass of RecBole's AbstractRecommender, got {model}. "
                "Derive it from recbole_tinynews.NewsRecommender."
            )
        return model
    ours, stock = model_names(), recbole_model_names()
    if model in ours:
        return getattr(importlib.import_module(f"recbole_tinynews.model.{model.lower()}"), model)
    if model not in stock:
        raise ValueError(
            f"No model is named {model!r}.{suggest(str(model), [*ours, *stock])} "
            f"Models of recbole_tinynews: {', '.join(ours)}; RecBole's own go by RecBole's names."
        )
    traced = torch.is_anomaly_enabled()
    try:
        return get_model(model)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"RecBole's model {model} needs the package {error.name!r}, which is not installed. "
            f"Run: pip install {error.name}"
        ) from error
    finally:  # RecBole's SINE has autograd trace everything, whichever model is looked up
        torch.autograd.set_detect_anomaly(traced)


def find_part(name: str) -> type:
    """The class of a recommender that can be a student or a teacher: it learns from clicks alone.

    Raises:
        ValueError: there is no such recommender.
    """
    from recbole_tinynews.model.plmnr import PLMNR
    from recbole_tinynews.trainer import UntrainedTrainer

    unfit = "expects a recommender that learns from clicks alone, such as NRMS or PLMNR"
    try:
        found = find_model(name)
    except ValueError as problem:
        raise ValueError(f"{unfit}. {problem}") from problem
    learns = issubclass(found, PLMNR) and not issubclass(find_trainer(found), UntrainedTrainer)
    if not learns or getattr(found, "pretrains_itself", False):
        raise ValueError(f"{unfit}, got {name}")
    return found


def with_parts(model_class: type, student: type, teacher: type) -> type:
    """A system with another student or other teachers than PLM-NRs, of ``find_part``."""
    from recbole_tinynews.model.student import composed

    return composed(model_class, student, teacher)


def is_news_model(model_class: type) -> bool:
    """Whether the model is a news recommender, with our settings, data set and metrics."""
    from recbole_tinynews.model.impression_recommender import ImpressionRecommender

    return issubclass(model_class, ImpressionRecommender)


def has_language_model(model_class: type) -> bool:
    """Whether the model is a news recommender that encodes texts; others train nothing."""
    from recbole_tinynews.model.recommender import NewsRecommender

    return issubclass(model_class, NewsRecommender)


def is_stock_model(model_class: type) -> bool:
    """Whether the class is one of RecBole's own, not a user's subclass of it."""
    return _is_from(model_class, "recbole")


def find_trainer(model_class: type) -> type:
    """The trainer that the model names in ``trainer_class``; for RecBole's models RecBole's own.

    Raises:
        ValueError: there is no trainer of this name.
    """
    named = getattr(model_class, "trainer_class", None)
    if named is None:
        return _recbole_trainer(model_class)
    if isinstance(named, type):
        return named
    from recbole_tinynews import trainer

    if named not in trainer.__all__:
        raise ValueError(
            f"{model_class.__name__}.trainer_class expects a class, or the name of one in "
            f"recbole_tinynews.trainer, got {named!r}.{suggest(str(named), trainer.__all__)}"
        )
    return getattr(trainer, named)


def overall_yaml_file(model_class: type) -> Path:
    """The yaml file of the settings that a news recommender shares with all of its kind."""
    kind = "overall" if has_language_model(model_class) else "impressions"
    return packaged_folder("properties") / f"{kind}.yaml"


def model_yaml_files(model_class: type) -> list[Path]:
    """The yaml files that declare a model's settings, weakest first: those of its bases, its own.

    A user's class has its yaml beside its module, under the name of the class.
    """
    files = [
        folder / f"{cls.__name__}.yaml"
        for cls in reversed(model_class.__mro__)
        for folder in _yaml_folders(cls)
    ]
    # a system with another student has its name twice
    return [file for file in dict.fromkeys(files) if file.is_file()]


def users_yaml_files(model_class: type) -> list[Path]:
    """The yaml files of a user's classes derived from RecBole's models, beside their modules."""
    return [file for file in model_yaml_files(model_class) if file.parent != recbole_yaml_folder()]


def stage_yaml_files(model_class: type) -> dict[str, Path]:
    """The yaml of each stage that a news recommender may have, by the name of the stage.

    The package's own stages come first; those of a user's class have theirs in a folder ``stage``
    beside its module. A model without a language model is a single stage, without a yaml.

    Raises:
        ValueError: two stages have the same name.
    """
    if not has_language_model(model_class):
        return {}
    folders = [packaged_folder("properties") / "stage"]
    for cls in reversed(model_class.__mro__):
        if not _is_from(cls, "recbole_tinynews"):
            folders += [folder / "stage" for folder in _module_folder(cls)]
    found: dict[str, Path] = {}
    for folder in dict.fromkeys(folders):
        for file in sorted(folder.glob("*.yaml")):
            if file.stem in found:
                raise ValueError(
                    f"A stage expects a name of its own, got two called {file.stem}: "
                    f"{found[file.stem]} and {file}. Rename yours; to set values of the other, "
                    f"write {file.stem}_NAME into the yaml of your class."
                )
            found[file.stem] = file
    return found


def _yaml_folders(cls: type) -> list[Path]:
    if _is_from(cls, "recbole_tinynews"):
        return [model_yaml_folder()]
    if is_stock_model(cls):
        return [recbole_yaml_folder()]
    return _module_folder(cls)


def _module_folder(cls: type) -> list[Path]:
    """The folder of the module of a class; none where it is typed into a notebook."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return [Path(file).resolve().parent] if file else []


def _recbole_trainer(model_class: type) -> type:
    stock = next(cls for cls in model_class.__mro__ if is_stock_model(cls))
    return get_trainer(getattr(model_class, "type", None), stock.__name__)


def _is_from(cls: type, package: str) -> bool:
    return cls.__module__.partition(".")[0] == package
