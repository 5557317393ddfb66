"""Installing: the command for this package with extras, and imports of optional libraries."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

from recbole_tinynews.version import VERSION

# Where the package is installed from: a URL or path of a wheel, an archive or a checkout. Without
# it, the checkout that this is, or the wheel of this version: no index has the package.
SOURCE = "RECBOLE_TINYNEWS_SOURCE"
_WHEEL = f"recbole_tinynews-{VERSION}-py3-none-any.whl"


def pip_install(*extras: str) -> str:
    """The command, to run where the checkout or the wheel lies.

    >>> pip_install("serve", "postgres").partition("[")[2]
    'serve,postgres]"'
    """
    wanted = f"[{','.join(extras)}]" if extras else ""
    source = os.environ.get(SOURCE)
    if source and "://" in source:
        return f'pip install "recbole-tinynews{wanted} @ {source}"'
    if source:
        return f'pip install "{source}{wanted}"'
    if (Path(__file__).parents[1] / "setup.py").is_file():
        return f'pip install -e ".{wanted}"'
    return f'pip install "{_WHEEL}{wanted}"'


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
