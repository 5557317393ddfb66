"""Models by name or class: ours, RecBole's and users'; names are looked up without torch."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from recbole_tinynews.files.columns import has_impressions
from recbole_tinynews.paths import packaged_folder, recbole_folder
from recbole_tinynews.recbole_models.unfit import UNFIT
from recbole_tinynews.settings.layers import Files, ModelFiles, Settings, read_given
from recbole_tinynews.settings.values import suggest

DEFAULT_MODEL, DEFAULT_DATASET = "TinyNewsRec", "mind-mini"
PACKAGE = Path(__file__).parent
ROOMS = ("model", "model/paper", "model/baselines", "zoo")  # of recommenders
_RECBOLES_DATASET = "ml-100k"  # part of RecBole, for any data_path
_CLASS = re.compile(r"^class (\w+)\(([^)]*)\):", re.MULTILINE)


class Model(NamedTuple):
    """A recommender, in a module of a room."""

    file: Path
    classes: tuple[str, ...]  # names of its bases and of itself, weakest first
    reads_text: bool


def _own_models() -> tuple[dict[str, Model], dict[str, Path]]:
    """Our recommenders, those with a yaml in ``properties/model`` or beside their module.

    Also the folder of each class in a room. Bases are read from the modules' text, since importing
    them would load torch.
    """
    rooms = [PACKAGE / room for room in ROOMS]
    bases: dict[str, list[str]] = {}
    files: dict[str, Path] = {}
    for file in (file for room in rooms for file in sorted(room.glob("*.py"))):
        for name, listed in _CLASS.findall(file.read_text(encoding="utf-8")):
            bases[name], files[name] = re.findall(r"\w+", listed), file

    def bases_and(name: str) -> Iterator[str]:
        for base in reversed(bases.get(name, [])):
            yield from bases_and(base)
        yield name

    found = {}
    for name in sorted(
        f.stem for folder in (model_yaml_folder(), *rooms) for f in folder.glob("*.yaml")
    ):
        classes = tuple(dict.fromkeys(bases_and(name)))
        found[name] = Model(files[name], classes, "NewsRecommender" in classes)
    return found, {name: file.parent for name, file in files.items()}


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
            f"No model is named '{name}'.{suggest(name, known)} The package's own are "
            f"{', '.join(MODELS)}; RecBole's own keep their names. All: --list-models"
        )


# Classes


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


# Settings


def read_settings(
    model: str | type | None = None,
    dataset: str | None = None,
    files: Files = None,
    config_dict: Mapping[str, Any] | None = None,
    command_line: Sequence[str] = (),
) -> Settings:
    """All settings of a run, with their mistakes; a model's name is looked up without torch."""
    given = read_given(files, config_dict, command_line)
    of_model = files_of(model or given.values.get("model") or DEFAULT_MODEL)
    dataset = str(dataset or given.values.get("dataset") or DEFAULT_DATASET)
    folder = given.data_folder(dataset)
    # a missing data set is reported as missing, not as one without impressions
    missing = not folder.is_dir() and dataset != _RECBOLES_DATASET
    on_impressions = of_model.is_news or missing or has_impressions(folder)

    def same(name: str, one: Any, other: Any) -> bool:
        if one == other or name != "plm":
            return one == other
        from recbole_tinynews.encoder.plm_files import is_same_plm  # slow

        return is_same_plm(one, other, [folder])

    return Settings(of_model, dataset, given, on_impressions, same)


def declared_settings(model: str | type) -> dict[str, Any]:
    """Default of every setting of a model, on impressions."""
    return Settings(files_of(model)).declared


def files_of(model: str | type) -> ModelFiles:
    """Yaml files that declare the settings of a class, or of the model of this name."""
    if isinstance(model, type):
        return _files_of_class(find_model(model))
    check_name(model)
    if model not in MODELS:
        stock = _existing([(recbole_yaml_folder(), model)])
        return ModelFiles(model, (model,), overall_yaml("recbole"), {}, stock)
    _, classes, reads_text = MODELS[model]
    ours = model_yaml_folder()
    own = _existing((f, name) for name in classes for f in (ours, FOLDERS.get(name, ours)))
    overall = overall_yaml("overall" if reads_text else "impressions")
    return ModelFiles(model, classes, overall, _stage_files() if reads_text else {}, own)


def _files_of_class(model_class: type) -> ModelFiles:
    name, classes, kind = model_class.__name__, tuple(reversed(model_class.__mro__)), "recbole"
    if is_news_model(model_class):
        kind = "overall" if has_language_model(model_class) else "impressions"
    own = _existing((f, cls.__name__) for cls in classes for f in _yaml_folders(cls))
    names = (name,) if kind == "recbole" else tuple(cls.__name__ for cls in classes)
    return ModelFiles(name, names, overall_yaml(kind), stage_yaml_files(model_class), own)


def _existing(places: Iterable[tuple[Path, str]]) -> tuple[Path, ...]:
    """The yaml files of classes that exist, of folders where each may have one."""
    files = (folder / f"{name}.yaml" for folder, name in places)
    return tuple(dict.fromkeys(file for file in files if file.is_file()))


def stage_yaml_files(model_class: type) -> dict[str, Path]:
    """Yaml files of possible stages, the package's first; ``ValueError`` for equal names."""
    if not has_language_model(model_class):
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


def model_yaml_folder() -> Path:
    """Folder of our models' yaml files."""
    return packaged_folder("properties") / "model"


def recbole_yaml_folder() -> Path:
    """Folder of RecBole's models' yaml files."""
    return recbole_folder() / "properties" / "model"


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


MODELS, FOLDERS = _own_models()
