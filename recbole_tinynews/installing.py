"""The command that installs this package with extras, for messages and model cards."""

from __future__ import annotations

import os
from pathlib import Path

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
