"""Where RecBole is installed, and the command that installs the package."""

from __future__ import annotations

import importlib.util
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from recbole_tinynews import __version__

_PACKAGE = Path(__file__).resolve().parents[1]
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


def pip_install(*extras: str) -> str:
    """The command, to run where the checkout or the wheel lies: no index has the package.

    >>> pip_install("serve", "postgres").partition("[")[2]
    'serve,postgres]"'
    """
    wanted = f"[{','.join(extras)}]" if extras else ""
    if (_PACKAGE.parent / "setup.py").is_file():
        return f'pip install -e ".{wanted}"'
    wheel = f"recbole_tinynews-{__version__}-py3-none-any.whl"
    return f'pip install "{wheel}{wanted}"'


def library(name: str, what: str, extra: str = "export") -> Any:
    """Import a module that ``what`` needs; the ``ModuleNotFoundError`` names the extra with it."""
    try:
        return import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.partition(".")[0] != name.partition(".")[0]:
            raise
        raise ModuleNotFoundError(
            f"{what} needs {name.partition('.')[0]}, which is not installed. Install the extra "
            f"{extra!r}: {pip_install(extra)}",
            name=missing.name,
        ) from None
