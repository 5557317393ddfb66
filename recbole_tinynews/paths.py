"""Paths of files installed with the package and with RecBole."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
MISSING_RECBOLE = (
    "recbole_tinynews expects RecBole 1.2.1, which is not installed. From Python 3.12 on it needs "
    "a command of its own: pip install --no-deps recbole==1.2.1"
)


@cache
def recbole_folder() -> Path:
    """RecBole's folder, without the slow import; ``ModuleNotFoundError`` if not installed."""
    try:
        spec = importlib.util.find_spec("recbole")
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(MISSING_RECBOLE, name="recbole")
    return Path(spec.origin).parent


def packaged_folder(name: str) -> Path:
    """``properties`` or ``dataset``: in a wheel inside the package, in a checkout beside it."""
    for parent in (_PACKAGE, _PACKAGE.parent):
        if (parent / name).is_dir():
            return parent / name
    raise FileNotFoundError(
        f"recbole_tinynews expects its folder '{name}' in {_PACKAGE} (installed from a wheel) or "
        f"{_PACKAGE.parent} (a checkout), and found neither. Install the package again."
    )
