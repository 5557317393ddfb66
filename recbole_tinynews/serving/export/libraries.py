"""Optional libraries, imported where they are needed; a missing one is named with its extra."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def library(name: str, what: str) -> Any:
    """The module, or an error that names the extra that brings it.

    Args:
        name: of the module.
        what: needs it, for the error: ``--to=onnx``.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.partition(".")[0] != name.partition(".")[0]:
            raise
        raise ModuleNotFoundError(
            f"{what} expects {name.partition('.')[0]}, which is not installed. Install it: "
            "pip install 'recbole-tinynews[export]'",
            name=missing.name,
        ) from None
