"""Models by name or class: ours, RecBole's and users'; names are looked up without torch."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from recbole_tinynews.paths import packaged_folder, recbole_folder
from recbole_tinynews.recbole_models.unfit import UNFIT
from recbole_tinynews.settings.declared import Models
from recbole_tinynews.settings.layering import Layering
from recbole_tinynews.settings.layers import ModelFiles, read_news_yaml, recbole_declared
from recbole_tinynews.settings.values import suggest

PACKAGE = Path(__file__).parent
ROOMS = ("model", "model/paper", "model/baselines", "zoo")  # of recommenders
_CLASS = re.compile(r"^class (\w+)\(([^)]*)\):", re.MULTILINE)


class Model(NamedTuple):
    """A recommender, in the module ``<name in lower case>.py`` of a room, and its yaml files."""

    file: Path
    yaml: tuple[Path, ...]  # of its bases too, weakest first
    reads_text: bool


def _own_models() -> dict[str, Model]:
    """Our recommenders by name: those with a yaml in ``properties/model`` or beside their module.

    Bases are read from the modules' text, since importing them would load torch.
    """
    rooms = [PACKAGE / room for room in ROOMS]
    modules = {file.stem: file for room in rooms for file in sorted(room.glob("*.py"))}
    yaml = [file for folder in (model_yaml_folder(), *rooms) for file in folder.glob("*.yaml")]
    named = {file.stem: file for file in sorted(yaml, key=lambda file: file.stem)}
    bases: dict[str, list[str]] = {}
    for file in modules.values():
        for name, listed in _CLASS.findall(file.read_text(encoding="utf-8")):
            bases[name] = re.findall(r"\w+", listed)

    def bases_and(name: str) -> Iterator[str]:
        for base in bases.get(name, ()):
            yield from bases_and(base)
        yield name

    found = {}
    for name in named:
        every = [*dict.fromkeys(bases_and(name))]
        files = tuple(named[each] for each in every if each in named)
        found[name] = Model(modules[name.lower()], files, "NewsRecommender" in every)
    return found


@cache
def recbole_models() -> dict[str, Path]:
    """Files of RecBole's own models, by the names of its ``get_model``."""
    spelling = {path.stem.lower(): path.stem for path in recbole_yaml_folder().glob("*.yaml")}
    files = (recbole_folder() / "model").glob("*_recommender/[!_]*.py")
    named = {spelling.get(file.stem, file.stem.capitalize()): file for file in files}
    return dict(sorted(named.items()))


def check_name(name: str) -> None:
    """Raise ``ValueError`` with the nearest names for an unknown name."""
    known = [*MODELS, *recbole_models()]
    if name not in known:
        raise ValueError(
            f"No model is named {name!r:.100}.{suggest(name, known)} Models of recbole_tinynews: "
            f"{', '.join(MODELS)}; RecBole's own keep their names. All: --list-models"
        )


def named_files(name: str) -> ModelFiles:
    """Yaml files that declare the settings of the model of this name."""
    if name not in MODELS:
        file = recbole_yaml_folder() / f"{name}.yaml"
        return ModelFiles(overall_yaml("recbole"), {}, [file] if file.is_file() else [])
    model = MODELS[name]
    if not model.reads_text:
        return ModelFiles(overall_yaml("impressions"), {}, [*model.yaml])
    return ModelFiles(overall_yaml("overall"), _stage_files(), [*model.yaml])


def model_yaml_folder() -> Path:
    """Folder of our models' yaml files."""
    return packaged_folder("properties") / "model"


def recbole_yaml_folder() -> Path:
    """Folder of RecBole's models' yaml files."""
    return recbole_folder() / "properties" / "model"


def find_model(model: str | type) -> type:
    """The class of a model, given by name or as a class; ``ValueError`` if no recommender."""
    if isinstance(model, type):
        from recbole.model.abstract_recommender import AbstractRecommender

        if not issubclass(model, AbstractRecommender):
            raise ValueError(
                f"A model expects a subclass of RecBole's AbstractRecommender, got {model}. "
                "Derive it from recbole_tinynews.NewsRecommender."
            )
        return model
    # RecBole's own lookup fails on unknown names with its import of lightgbm
    check_name(model)
    if model in MODELS:
        parts = MODELS[model].file.relative_to(PACKAGE.parent).with_suffix("").parts
        return getattr(importlib.import_module(".".join(parts)), model)
    return _find_recbole_model(model)


def _find_recbole_model(name: str) -> type:
    import torch
    from recbole.utils import get_model

    traced = torch.is_anomaly_enabled()
    try:
        return get_model(name)
    except ModuleNotFoundError as error:
        needs = f"needs the package {error.name!r}, which is not installed"
        if name in UNFIT:  # installing the package would not help
            needs = f"cannot run on impressions: {UNFIT[name]}"
        raise ValueError(f"RecBole's model {name} {needs}") from error
    finally:  # importing RecBole's SINE turns on anomaly detection globally
        torch.autograd.set_detect_anomaly(traced)


def is_news_model(model_class: type) -> bool:
    """Whether the model is a news recommender, with our settings, data set and metrics."""
    from recbole_tinynews.model.impression_recommender import ImpressionRecommender

    return issubclass(model_class, ImpressionRecommender)


def has_language_model(model_class: type) -> bool:
    """Whether the model is a news recommender that encodes texts; others train nothing."""
    from recbole_tinynews.model.recommender import NewsRecommender

    return issubclass(model_class, NewsRecommender)


def is_stock_model(model_class: type) -> bool:
    """Whether the class is one of RecBole's own, not a user's subclass."""
    return _is_from(model_class, "recbole")


def find_trainer(model_class: type) -> type:
    """The model's ``trainer_class`` (``ValueError`` if unknown), or RecBole's trainer."""
    named = getattr(model_class, "trainer_class", None)
    if named is None:
        from recbole.utils import get_trainer

        stock = next(cls for cls in model_class.__mro__ if is_stock_model(cls))
        return get_trainer(getattr(model_class, "type", None), stock.__name__)
    if isinstance(named, type):
        return named
    from recbole_tinynews import trainer

    if named not in trainer.__all__:
        raise ValueError(
            f"{model_class.__name__}.trainer_class expects a class, or the name of one in "
            f"recbole_tinynews.trainer, got {named!r}.{suggest(str(named), trainer.__all__)}"
        )
    return getattr(trainer, named)


def files_of(model_class: type) -> ModelFiles:
    """Yaml files that declare a class's settings."""
    kind = "recbole"
    if is_news_model(model_class):
        kind = "overall" if has_language_model(model_class) else "impressions"
    stages, own = stage_yaml_files(model_class), model_yaml_files(model_class)
    return ModelFiles(overall_yaml(kind), stages, own)


def layering_of(
    model_class: type,
    dataset: str,
    base: Mapping[str, Any],
    given: Mapping[str, Any],
    on_impressions: bool,
    same_plm: Callable[[Any, Any], bool] | None,
) -> Layering:
    """The yaml files of a model and its data set, layered over RecBole's values (``base``).

    Some of the user's settings, ``given``, select files; ``same_plm`` says whether two ``plm`` are
    the same model.
    """
    files = files_of(model_class)
    if not is_news_model(model_class):
        kind = Models.RECBOLE_ON_IMPRESSIONS if on_impressions else Models.RECBOLE
        declared = recbole_declared(files, on_impressions)
        settings = Layering(kind, files, declared, base, given, {})
        settings.add_recbole_yaml(dataset, model_class.__name__)
        return settings
    yaml = read_news_yaml(files)
    settings = Layering(Models.NEWS, files, yaml.declared, base, given, yaml.stages)
    classes = [cls.__name__ for cls in reversed(model_class.__mro__)]
    same_plm = same_plm if has_language_model(model_class) else None
    settings.add_news_yaml(yaml, dataset, classes, same_plm)
    return settings


def declared_settings(model_class: type) -> dict[str, Any]:
    """Default of every setting of a model, on impressions."""
    files = files_of(model_class)
    news = is_news_model(model_class)
    return read_news_yaml(files).declared if news else recbole_declared(files)


def model_yaml_files(model_class: type) -> list[Path]:
    """Yaml files of a model and its bases, weakest first; a user's are beside their module."""
    files = [
        folder / f"{cls.__name__}.yaml"
        for cls in reversed(model_class.__mro__)
        for folder in _yaml_folders(cls)
    ]
    return [file for file in files if file.is_file()]


def stage_yaml_files(model_class: type) -> dict[str, Path]:
    """Yaml files of possible stages, the package's first; ``ValueError`` for equal names."""
    if not is_news_model(model_class) or not has_language_model(model_class):
        return {}
    users = (cls for cls in reversed(model_class.__mro__) if not _is_from(cls, "recbole_tinynews"))
    return _stage_files(folder / "stage" for cls in users for folder in _module_folder(cls))


def _stage_files(of_users: Iterable[Path] = ()) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in dict.fromkeys([packaged_folder("properties") / "stage", *of_users]):
        for file in sorted(folder.glob("*.yaml")):
            if file.stem in found:
                raise ValueError(
                    f"A stage expects a name of its own, got two called {file.stem}: "
                    f"{found[file.stem]} and {file}. Rename yours; to set values of the other, "
                    f"write {file.stem}_NAME into the yaml of your class."
                )
            found[file.stem] = file
    return found


def overall_yaml(kind: str) -> Path:
    """Yaml file of the settings that all models of this kind share."""
    return packaged_folder("properties") / f"{kind}.yaml"


def _yaml_folders(cls: type) -> list[Path]:
    if _is_from(cls, "recbole_tinynews"):
        return [model_yaml_folder(), *_module_folder(cls)]
    if is_stock_model(cls):
        return [recbole_yaml_folder()]
    return _module_folder(cls)


def _module_folder(cls: type) -> list[Path]:
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return [Path(file).resolve().parent] if file else []


def _is_from(cls: type, package: str) -> bool:
    return cls.__module__.partition(".")[0] == package


MODELS = _own_models()
