"""Export formats: a module each, named after its format, with one value ``FORMAT``."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from recbole_tinynews.serving.engine import Engine
    from recbole_tinynews.serving.export.description import Description
    from recbole_tinynews.serving.export.source import Source


class Format(NamedTuple):
    """An export format.

    Attributes:
        write: writes the recommender's files into a folder.
        load: reads the folder back as an engine that ranks.
        library: ``library_name`` of the model card.
        example: Python code for the card that encodes a title; it uses ``FOLDER``, and
            ``MAX_LENGTH`` is replaced.
        exact: whether vectors and scores equal the recommender's; otherwise both are evaluated.
        task: ``pipeline_tag`` of the card.
        note: a sentence for the card on the differences.
        check: the largest difference of vectors that the format's own library computes.
    """

    write: Callable[[Source, Path], None]
    load: Callable[[Path, Description], Engine]
    library: str
    example: str = ""
    exact: bool = True
    task: str = "feature-extraction"
    note: str = ""
    check: Callable[[Source, Path, list[str]], float] | None = None


def format_names() -> list[str]:
    """Names of all formats; nothing slow is imported."""
    return [module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__)]


def find_format(name: str) -> Format:
    """The format of this name.

    Raises:
        ValueError: there is none.
    """
    if name not in format_names():
        raise ValueError(f"--to expects one of {', '.join(format_names())}, got {name!r}.")
    module = import_module(f"{__name__}.{name.replace('-', '_')}")
    found: Format = module.FORMAT
    return found
