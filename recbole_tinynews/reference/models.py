"""The models that can be named, read from their files: importing them takes seconds for torch."""

from __future__ import annotations

import ast
import pkgutil
import re
import warnings
from functools import cache
from pathlib import Path
from typing import NamedTuple

from recbole_tinynews.paths import packaged_folder, recbole_folder
from recbole_tinynews.settings.nearest import suggest

OURS = Path(__file__).resolve().parents[1] / "model"
WITH_LANGUAGE_MODEL = "NewsRecommender"  # the base of those


class ModelSource(NamedTuple):
    """A class in a source file.

    Attributes:
        name: of the class.
        bases: names of its bases, as they are written.
        of_module: first sentence of the module's docstring.
        meaning: first sentence of its own docstring; without one, the paper that the module names.
        family: folder of the file.
    """

    name: str
    bases: tuple[str, ...]
    of_module: str
    meaning: str
    family: str


def model_names() -> list[str]:
    """Names of our models, read from the folder of their yaml files."""
    return sorted(path.stem for path in model_yaml_folder().glob("*.yaml"))


def recbole_model_names() -> list[str]:
    """Names of RecBole's own models, spelt as its yaml files are."""
    spelling = {path.stem.lower(): path.stem for path in recbole_yaml_folder().glob("*.yaml")}
    root = recbole_folder() / "model"
    modules = [
        module.name
        for package in pkgutil.iter_modules([str(root)])
        if package.ispkg
        for module in pkgutil.iter_modules([str(root / package.name)])
    ]
    return sorted(spelling.get(name, name.capitalize()) for name in modules)


def model_yaml_folder() -> Path:
    """The folder of the yaml files of our models."""
    return packaged_folder("properties") / "model"


def recbole_yaml_folder() -> Path:
    """The folder of the yaml files of RecBole's models."""
    return recbole_folder() / "properties" / "model"


def check_name(name: str) -> None:
    """Refuse a name that no model has.

    Raises:
        ValueError: it names the nearest ones.
    """
    known = [*model_names(), *recbole_model_names()]
    if name not in known:
        raise ValueError(f"No model is named {name!r}.{suggest(name, known)} See --list-models.")


def is_ours(name: str) -> bool:
    """Whether a model is one of this package."""
    return name in model_names()


def has_language_model(name: str) -> bool:
    """Whether one of our models encodes texts; others train nothing."""
    return WITH_LANGUAGE_MODEL in bases_of(name)


def yaml_files_of(name: str) -> list[Path]:
    """The yaml files of one of our models, those of its bases first."""
    files = [model_yaml_folder() / f"{each}.yaml" for each in reversed([name, *bases_of(name)])]
    return [file for file in files if file.is_file()]


def bases_of(name: str) -> list[str]:
    """The classes that one of our models is derived from, the nearest first."""
    classes = classes_in(OURS)
    if name not in classes:
        return []
    found = [each for base in classes[name].bases for each in (base, *bases_of(base))]
    return list(dict.fromkeys(found))


@cache
def classes_in(folder: Path) -> dict[str, ModelSource]:
    """The classes in the files of a folder and of those in it, by name."""
    found = {}
    for file in sorted(folder.rglob("*.py")):
        with warnings.catch_warnings():  # RecBole's docstrings have formulas with backslashes
            warnings.simplefilter("ignore", SyntaxWarning)
            warnings.simplefilter("ignore", DeprecationWarning)  # the same before Python 3.12
            tree = ast.parse(file.read_text(encoding="utf-8"))
        of_module = ast.get_docstring(tree) or ""
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                bases = tuple(map(ast.unparse, node.bases))
                meaning = _first_sentence(ast.get_docstring(node) or "") or _title(of_module)
                found[node.name] = ModelSource(
                    node.name, bases, _first_sentence(of_module), meaning, file.parent.name
                )
    return found


def _title(docstring: str) -> str:
    """The first text in quotation marks, which is how RecBole names a paper; on one line."""
    quoted = re.search(r'"([^"]+)"', docstring)
    return " ".join(quoted[1].split()).rstrip(".") if quoted else ""


def _first_sentence(docstring: str) -> str:
    """The first sentence of the first paragraph, on one line."""
    paragraph = " ".join(docstring.partition("\n\n")[0].split())
    sentence, stop, _ = paragraph.partition(". ")
    return sentence + stop.strip()
