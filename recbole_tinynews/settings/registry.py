"""Models by name or class: ours, RecBole's and users'; names are looked up without torch."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from recbole_tinynews.files.installation import recbole_folder
from recbole_tinynews.settings.literals import Files, packaged_folder, read_given
from recbole_tinynews.settings.run_settings import ModelFiles, RunSettings
from recbole_tinynews.settings.values import suggest

DEFAULT_MODEL, DEFAULT_DATASET = "TinyNewsRec", "mind-mini"
PACKAGE = Path(__file__).resolve().parents[1]
ROOMS = ("model", "model/paper", "model/baselines", "zoo")  # of recommenders
_CLASS = re.compile(r"^class (\w+)\(([^)]*)\):", re.MULTILINE)
# the yaml of the settings that all models of a kind share, by the base of the kind
_KINDS = {"NewsRecommender": "overall", "ImpressionRecommender": "impressions"}

GRAPH = "it needs a knowledge graph (.kg and .link files), which these data sets don't have"
LIBRARY = "it is trained by an external library, on one table of all rows"
_ENTITIES = "it needs vectors of the items' entities, made from a knowledge graph"
_PRETRAIN = "it needs an earlier stage of training, whose pickle current versions of torch refuse"

# RecBole's models that cannot run on impressions, and why (families: `recbole_models.feeds`)
UNFIT: dict[str, str] = {
    "FEARec": "it reads the sequences of all rows from one table, which doesn't exist here",
    "LDiffRec": "it needs item vectors of another model (item_emb.npy)",
    "NCL": "it needs faiss on a GPU",
    **dict.fromkeys(("GRU4RecKG", "KSR"), _ENTITIES),
    **dict.fromkeys(("KD_DAGFM", "RaCT", "S3Rec"), _PRETRAIN),
    **dict.fromkeys(("lightgbm", "xgboost"), LIBRARY),
}


Bases = list[tuple[str, list[Path]]]  # classes, weakest first, and where their own yaml may lie


class Model(NamedTuple):
    """A recommender of ours, in a module of a room."""

    file: Path
    bases: Bases


def _own_models() -> dict[str, Model]:
    """Our recommenders, those with a yaml in ``properties/model`` or beside their module.

    Bases are read from the modules' text, since importing them would load torch.
    """
    rooms = [PACKAGE / room for room in ROOMS]
    classes: dict[str, tuple[Path, list[str]]] = {}
    for file in (file for room in rooms for file in sorted(room.glob("*.py"))):
        for name, bases in _CLASS.findall(file.read_text(encoding="utf-8")):
            classes[name] = file, re.findall(r"\w+", bases)

    def bases_of(name: str) -> Bases:
        if name not in classes:
            return []
        file, names = classes[name]
        before = dict(base for each in reversed(names) for base in bases_of(each))
        return [*before.items(), (name, [file.parent])]

    declaring = (packaged_folder("properties") / "model", *rooms)
    names = sorted(file.stem for folder in declaring for file in folder.glob("*.yaml"))
    return {name: Model(classes[name][0], bases_of(name)) for name in names}


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
        raise ValueError(f"No model is named '{name}'.{suggest(name, known)} All: --list-models")


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
        why = UNFIT.get(name, error)
        raise ValueError(f"RecBole's model {name} cannot run on impressions: {why}") from error
    finally:  # importing RecBole's SINE turns on anomaly detection globally
        torch.autograd.set_detect_anomaly(traced)


def is_news_model(model_class: type) -> bool:
    """Whether the model is a news recommender, with our settings, data set and metrics."""
    return _kind_of(_bases_of(model_class)) != "recbole"


def has_language_model(model_class: type) -> bool:
    """Whether the model is a news recommender that encodes texts; others train nothing."""
    return _kind_of(_bases_of(model_class)) == "overall"


def is_stock_model(model_class: type) -> bool:
    """Whether the class is one of RecBole's own, not a user's subclass."""
    return model_class.__module__.partition(".")[0] == "recbole"


# Settings


def read_settings(
    model: str | type | None = None,
    dataset: str | None = None,
    files: Files = None,
    config_dict: Mapping[str, Any] | None = None,
    command_line: Sequence[str] = (),
) -> RunSettings:
    """All settings of a run, with their mistakes; a model's name is looked up without torch."""
    given = read_given(files, config_dict, command_line)
    of_model = files_of(model or given.values.get("model") or DEFAULT_MODEL)
    dataset = str(dataset or given.values.get("dataset") or DEFAULT_DATASET)
    return RunSettings(of_model, dataset, given)


def declared_settings(model: str | type) -> dict[str, Any]:
    """Default of every setting of a model, on impressions."""
    return RunSettings(files_of(model)).declared


def files_of(model: str | type) -> ModelFiles:
    """Yaml files that declare the settings of a class, or of the model of this name."""
    if isinstance(model, type):
        name, bases = model.__name__, _bases_of(find_model(model))
    else:
        check_name(model)
        stock = [(model, [recbole_yaml_folder()])]
        name, bases = model, MODELS[model].bases if model in MODELS else stock
    kind, properties = _kind_of(bases), packaged_folder("properties")
    places = (
        folder / f"{base}.yaml"
        for base, folders in bases
        for folder in ([properties / "model"] if _are_ours(folders) else []) + folders
    )
    own = tuple(dict.fromkeys(file for file in places if file.is_file()))
    names = (name,) if kind == "recbole" else tuple(base for base, _ in bases)
    folders = [properties, *chain(*(folders for _, folders in bases))]
    stages = _stage_files(folders) if kind == "overall" else {}
    return ModelFiles(name, names, properties / f"{kind}.yaml", stages, own)


def _bases_of(model_class: type) -> Bases:
    return [
        (cls.__name__, [recbole_yaml_folder()] if is_stock_model(cls) else _module_folder(cls))
        for cls in reversed(model_class.__mro__)
    ]


def _are_ours(folders: Iterable[Path]) -> bool:
    return any(PACKAGE in folder.parents for folder in folders)


def _kind_of(bases: Bases) -> str:
    """Name of the yaml file of all models of this kind, by the nearest of our base classes."""
    ours = (name for name, folders in reversed(bases) if _are_ours(folders))
    return next((_KINDS[name] for name in ours if name in _KINDS), "recbole")


def _stage_files(folders: Iterable[Path]) -> dict[str, Path]:
    """Yaml files of possible stages in these folders; ``ValueError`` for equal names."""
    found: dict[str, Path] = {}
    for folder in dict.fromkeys(folders):
        for file in sorted(folder.glob("stage/*.yaml")):
            if file.stem in found:
                raise ValueError(
                    f"A stage expects a name of its own, got two called {file.stem}: "
                    f"{found[file.stem]} and {file}. Rename yours."
                )
            found[file.stem] = file
    return found


def recbole_yaml_folder() -> Path:
    """Folder of RecBole's models' yaml files."""
    return recbole_folder() / "properties" / "model"


def _module_folder(cls: type) -> list[Path]:
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return [Path(file).resolve().parent] if file else []


MODELS = _own_models()
