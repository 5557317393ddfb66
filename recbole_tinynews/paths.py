"""Paths of the files that are installed with the package, in a checkout or inside a wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def packaged_folder(name: str) -> Path:
    """The folder ``name`` (``properties`` or ``dataset``) of this installation.

    A wheel carries it inside the package; a checkout and an editable install have it beside.

    Raises:
        FileNotFoundError: neither place has it, so the installation is incomplete.
    """
    for parent in (_PACKAGE, _PACKAGE.parent):
        if (parent / name).is_dir():
            return parent / name
    raise FileNotFoundError(
        f"recbole_tinynews expects its folder '{name}' in {_PACKAGE} (installed from a wheel) or "
        f"{_PACKAGE.parent} (a checkout), and found neither. Install the package again."
    )
