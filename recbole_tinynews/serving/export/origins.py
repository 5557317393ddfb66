"""Licences of data set and language model, and the latter's name on the hub, where known."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

from recbole_tinynews.encoder.plm_files import PACKAGE_PREFIX
from recbole_tinynews.paths import packaged_folder

UNKNOWN = "unknown"
OURS = "MIT"  # of this package and its data


def licence_of_data(folder: Path | None) -> str:
    """The licence of a data set, known only for embedded ones."""
    return OURS if folder is not None and _embedded(folder) else UNKNOWN


def licence_of_plm(plm: str, places: list[Path]) -> str:
    """Licence of the language model ``plm``, perhaps in ``places``, by its package or card."""
    if plm.startswith(PACKAGE_PREFIX):
        return _of_package(plm.removeprefix(PACKAGE_PREFIX))
    for folder in (place / plm for place in places):
        if folder.is_dir():
            return OURS if _embedded(folder) else _of_card(folder / "README.md")
    return UNKNOWN


def hub_name(plm: str, places: list[Path]) -> str | None:
    """``ORG/NAME`` of a language model on the model hub, if it is from there."""
    local = plm.startswith(PACKAGE_PREFIX) or any((place / plm).is_dir() for place in places)
    return None if local or Path(plm).is_absolute() or plm.count("/") != 1 else plm


def _embedded(folder: Path) -> bool:
    try:
        return folder.resolve().is_relative_to(packaged_folder("dataset").resolve())
    except FileNotFoundError:
        return False


def _of_package(name: str) -> str:
    for distribution in metadata.packages_distributions().get(name, []):
        known = metadata.metadata(distribution).json
        licence = known.get("license_expression") or known.get("license")
        if isinstance(licence, str) and "\n" not in licence:  # some contain the full text
            return licence
    return UNKNOWN


def _of_card(card: Path) -> str:
    if not card.is_file():
        return UNKNOWN
    found = re.search(r"\A---\n(?:.*\n)*?license: *(\S+)", card.read_text(encoding="utf-8"))
    return found[1] if found else UNKNOWN
