"""``recommender.json`` describes an export; written last, it marks a complete folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from recbole_tinynews.files.array_cache import changed, checksums, content_key
from recbole_tinynews.files.lines import read_json, untrusted
from recbole_tinynews.files.whole import write_text
from recbole_tinynews.settings.table import Models, rules_for
from recbole_tinynews.settings.values import unfit_value

FILE = "recommender.json"
CARD = "README.md"  # may be edited, so it has no checksum
EXPORT_FORMAT = 2  # increased when older exports would be misread
NEWS_DIM, NEWS_TOKENS = "news_dim", "news_tokens"  # maximum tokens of a text
SIZES = (NEWS_DIM, NEWS_TOKENS, "query_dim", "history_length")
LARGEST = 100_000  # of these sizes
NAMES = ("model_class", "dataset", "USER_ID_FIELD", "ITEM_ID_FIELD")
SETTINGS = (
    "model_class",
    "dataset",
    "seed",
    "num_hidden_layers",
    "news_text",
    "text_prefix",
    "news_pooling",
    "mask_padding_in_news_pooling",
    "head_init",
    "query_dim",
    "user_encoder",
    "history_padding",
    "history_length",
    "USER_ID_FIELD",
    "ITEM_ID_FIELD",
)


class Description(NamedTuple):
    """Contents of ``recommender.json``."""

    to: str  # the format
    engine: str  # the name of the engine that ranks with it
    settings: dict[str, Any]  # that affect vectors and scores
    made_from: dict[str, Any]  # the exported folder, and fingerprints of its origins
    checked: dict[str, Any]  # differences from the recommender, and metrics
    files: dict[str, str]  # checksums of all other files, by path

    @property
    def identity(self) -> str:
        """Digest of everything that affects a vector."""
        return content_key([json.dumps([self.to, self.settings, self.files], sort_keys=True)])


def write_description(folder: Path, description: Description) -> None:
    """Write ``recommender.json`` with checksums of the other files."""
    files = [file for file in folder.rglob("*") if file.is_file() and file.name not in (FILE, CARD)]
    content = {
        "export_format": EXPORT_FORMAT,
        **description._asdict(),
        "files": checksums(folder, files),
    }
    write_text(folder / FILE, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def is_export(folder: Path) -> bool:
    """Whether the folder holds an export, intact or not."""
    return (folder / FILE).is_file()


def read_description(folder: Path) -> Description:
    """Read ``recommender.json``, check all files; ``ValueError`` for damage or another version."""
    if not is_export(folder):
        raise FileNotFoundError(
            f"{folder} expects an export, with a {FILE}, and has none. Write one with "
            "recbole-tinynews export."
        )
    with untrusted(folder / FILE):
        content = read_json(folder / FILE)
        if not isinstance(content, dict) or "export_format" not in content:
            raise ValueError("it holds something else than the description of an export.")
    version = content.pop("export_format")
    if version != EXPORT_FORMAT:
        raise ValueError(
            f"{folder} is an export of format {str(version)[:20]}, and this version of "
            f"recbole_tinynews reads {EXPORT_FORMAT}. Export it again."
        )
    with untrusted(folder / FILE):
        described = Description(**content)
        _check_settings(described.settings)
        broken = changed(folder, described.files)
    if broken:
        raise ValueError(
            f"{folder} expects its files as they were written, and {', '.join(broken)} "
            f"{'are' if len(broken) > 1 else 'is'} missing or changed. Export it again."
        )
    return described


def _check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse values of the wrong type, and implausible sizes."""
    rules = rules_for(Models.NEWS)
    for name in (*SETTINGS, NEWS_DIM, NEWS_TOKENS):
        value = settings[name]
        if name in SIZES:
            fits = type(value) is int and 1 <= value <= LARGEST
        elif name in NAMES:
            fits = isinstance(value, str)
        else:
            fits = value is None or unfit_value(name, value, rules, value) is None
        if not fits:
            raise ValueError(f"{name}={value!r:.100} fits no recommender.")
