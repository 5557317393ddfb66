"""Imports of optional libraries, with errors that say how to install them."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def library(name: str, what: str, install: str = "'recbole-tinynews[export]'") -> Any:
    """Import a module that ``what`` needs; the ``ModuleNotFoundError`` says ``pip install ...``."""
    try:
        return import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.partition(".")[0] != name.partition(".")[0]:
            raise
        raise ModuleNotFoundError(
            f"{what} expects {name.partition('.')[0]}, which is not installed. Install it: "
            f"pip install {install}",
            name=missing.name,
        ) from None
