"""Imports of optional libraries, with errors that say how to install them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from recbole_tinynews.files.installation import pip_install


def library(name: str, what: str, install: str | None = None) -> Any:
    """Import a module that ``what`` needs; the ``ModuleNotFoundError`` says ``pip install ...``.

    ``install`` is what to install; without it, the extra ``export``.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.partition(".")[0] != name.partition(".")[0]:
            raise
        raise ModuleNotFoundError(
            f"{what} expects {name.partition('.')[0]}, which is not installed. Install it: "
            + (pip_install("export") if install is None else f"pip install {install}"),
            name=missing.name,
        ) from None
