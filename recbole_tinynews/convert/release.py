"""The releases of MIND that ``--download`` knows: fetched, unpacked, laid out for a conversion."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from recbole_tinynews.convert.archive import unpack
from recbole_tinynews.convert.download import Source, fetch
from recbole_tinynews.convert.errors import ConversionError
from recbole_tinynews.convert.options import LAST_DAY
from recbole_tinynews.convert.readers.mind import IMPRESSIONS_FILE, NEWS_FILE
from recbole_tinynews.files.locks import LockHeldError, exclusive_lock

RELEASES = ("demo", "small", "large")  # of downloads.yaml
DEFAULT_FOLDER = Path("~", ".cache", "recbole_tinynews", "mind")

_FILES = (IMPRESSIONS_FILE, NEWS_FILE)


class Splits(NamedTuple):
    """The default folders for converting a release."""

    train: Path
    valid: str | Path
    test: Path


def download(release: str, folder: Path, base_url: str | None = None) -> Splits:
    """Download and unpack a release into ``folder``; what exists there is not fetched again.

    Raises:
        ConversionError: an archive can't be downloaded, is not the expected one, damaged or
            malicious.
    """
    known = _known()
    base_url = base_url or known["base_url"]
    folder = folder.expanduser()
    print(known["notice"], file=sys.stderr)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(folder / release, f"downloading MIND-{release} there", wait=False):
            parts = {
                split: _have(entry, folder, base_url)
                for split, entry in known["releases"][release].items()
            }
    except LockHeldError as error:
        raise ConversionError(str(error)) from error
    except OSError as error:
        raise ConversionError(
            f"--download-dir={folder}: expected a folder that can be written to, got: {error}."
        ) from error
    if "test" in parts:
        return Splits(parts["train"], parts["dev"], parts["test"])
    return Splits(parts["train"], LAST_DAY, parts["dev"])


def _known() -> dict[str, Any]:
    text = Path(__file__).with_name("downloads.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def _have(entry: dict[str, Any], folder: Path, base_url: str) -> Path:
    archive = folder / entry["file"]
    unpacked = archive.with_suffix("")
    if all((unpacked / name).is_file() for name in _FILES):  # named when complete
        return unpacked
    url = f"{base_url.rstrip('/')}/{entry['file']}"
    digest = fetch(Source(url, entry["bytes"], entry["sha256"]), archive)
    known = "as expected" if entry["sha256"] else "no checksum is known to compare it with"
    print(
        f"{archive}: {archive.stat().st_size:,} bytes, SHA-256 {digest} ({known})", file=sys.stderr
    )
    unpack(archive, unpacked, _FILES)
    return unpacked
