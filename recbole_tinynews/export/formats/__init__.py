"""Export formats: one module each, named after its format, which defines ``FORMAT``."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from recbole_tinynews.export.finished import FinishedRecommender


class Format(NamedTuple):
    """An export format."""

    write: Callable[[FinishedRecommender, Path], None]  # writes its files into a folder
    engine: str  # of ``serving.exported.ENGINES``, which reads the folder back
    library: str  # `library_name` of the model card
    example: Callable[[Mapping[str, Any]], str]  # code that ranks without this package, by settings
    exact: bool = True  # vectors and scores equal the recommender's
    task: str = "feature-extraction"  # `pipeline_tag` of the card
    note: str = ""  # sentence for the card about differences
    # refuses vectors of texts by the format's own library that differ from the recommender's
    check: Callable[[FinishedRecommender, Path, Sequence[str]], None] | None = None


def format_names() -> list[str]:
    """Names of all formats, found without importing them."""
    return [module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__)]


def find_format(name: str) -> Format:
    """The format with this name; ``ValueError`` if unknown."""
    if name not in format_names():
        raise ValueError(f"--to expects one of {', '.join(format_names())}, got {name!r}.")
    found: Format = import_module(f"{__name__}.{name.replace('-', '_')}").FORMAT
    return found
