"""Loads an added recommender: ``+Model`` or ``+path/to/file.py:Class`` on the command line."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from recbole_tinynews.settings.registry import find_model

_MARK = "+"


def is_added(text: str) -> bool:
    """Whether ``text`` adds a recommender to those of a suite."""
    return text.startswith(_MARK)


def model_class_of(model: str) -> type:
    """The class of a row's model, from a file or the registry."""
    path, colon, name = model.removeprefix(_MARK).rpartition(":")
    if not is_added(model) or (name.isidentifier() and not colon):
        return find_model(name)
    if not colon or not path.endswith(".py") or not name:
        raise ValueError(
            "A system is added as +Model, one of your own is written +path/to/file.py:Class, got "
            f"{model!r}."
        )
    module = _module_of(Path(path).resolve())
    cls = getattr(module, name, None)
    if not isinstance(cls, type):
        found = [key for key, value in vars(module).items() if isinstance(value, type)]
        raise ValueError(f"{path} has no class {name!r}. It has {', '.join(found) or 'none'}.")
    return find_model(cls)


def _module_of(path: Path) -> object:
    """Import a file under its own name, by which the registry finds the yaml beside it."""
    name = path.stem
    if (known := sys.modules.get(name)) is not None:
        if getattr(known, "__file__", None) == str(path):
            return known
        raise ValueError(f"{path} has the name of another module, {known}. Rename the file.")
    if not path.is_file():
        raise ValueError(f"A system of your own is expected in {path}, where there is no file.")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "a path that ends in .py has a loader"
    assert spec.loader is not None, "the same"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.append(str(path.parent))  # for modules in the same folder that it imports
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as problem:  # a script that exits would end the benchmark
        del sys.modules[name]
        raise ValueError(f"{path} can't be imported: {problem!r}") from problem
    return module
