"""Download MIND's releases with pooch, unpack them, and assign them to splits."""

from __future__ import annotations

import shutil
import sys
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from recbole_tinynews.convert.errors import ConversionError
from recbole_tinynews.convert.readers.mind import IMPRESSIONS_FILE, NEWS_FILE
from recbole_tinynews.convert.readers.reader import LAST_DAY
from recbole_tinynews.files.installation import library
from recbole_tinynews.files.lines import untrusted
from recbole_tinynews.files.progress import progress_bar
from recbole_tinynews.files.whole import whole_folder

RELEASES = ("demo", "small", "large")  # keys in downloads.yaml
DEFAULT_FOLDER = Path("~", ".cache", "recbole_tinynews", "mind")
TIMEOUT = 60  # seconds without data
RETRIES = 2  # after 1 and 2 seconds
_FILES = (IMPRESSIONS_FILE, NEWS_FILE)
_BLOCK = 1 << 16  # bytes


def download(release: str, folder: Path, base_url: str | None = None) -> dict[str, str | Path]:
    """Download and unpack a release, unless present; return its splits, or ``ConversionError``."""
    known = _known()
    print(known["notice"], file=sys.stderr)
    parts = {
        split: _unpacked(entry, folder.expanduser(), base_url or known["base_url"])
        for split, entry in known["releases"][release].items()
    }
    if "test" in parts:
        return {"train": parts["train"], "valid": parts["dev"], "test": parts["test"]}
    return {"train": parts["train"], "valid": LAST_DAY, "test": parts["dev"]}


def _known() -> dict[str, Any]:
    text = Path(__file__).with_name("downloads.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def _unpacked(entry: dict[str, Any], folder: Path, base_url: str) -> Path:
    archive = folder / entry["file"]
    unpacked = archive.with_suffix("")
    if not all((unpacked / name).is_file() for name in _FILES):
        fetch(archive, base_url, entry["bytes"], entry["sha256"])
        unpack(archive, unpacked)
    return unpacked


def fetch(file: Path, base_url: str, size: int | None = None, sha256: str | None = None) -> None:
    """Download ``base_url/NAME`` to ``file`` unless it is there, intact."""
    pooch = library("pooch", "--download", "download")

    def with_progress(url: str, output: str, mirror: Any) -> None:
        with progress_bar(desc=file.name, total=1, unit="B", unit_scale=True) as bar:
            pooch.HTTPDownloader(bar, _BLOCK, timeout=TIMEOUT)(url, output, mirror)

    base_url = f"{base_url.rstrip('/')}/"
    registry = {file.name: sha256}
    mirror = pooch.create(file.parent, base_url, registry=registry, retry_if_failed=RETRIES)
    try:
        mirror.fetch(file.name, downloader=with_progress)
        if size not in (None, found := file.stat().st_size):
            raise ValueError(f"{found:,} bytes instead of {size:,}; remove {file} to try again")
    except (OSError, ValueError) as error:  # requests raises OSErrors
        raise ConversionError(
            f"{base_url}{file.name}: expected a download to {file.parent}, got: {error}. "
            "--download-url names another server, --download-dir another folder."
        ) from error


def unpack(archive: Path, folder: Path) -> None:
    """Write the files of MIND in a zip, at any depth, into a folder; all or none.

    Names in the zip are no paths here, so no archive can write elsewhere.
    """
    try:
        with (
            untrusted(archive),
            whole_folder(folder, first_wins=True) as unfinished,
            zipfile.ZipFile(archive) as content,
        ):
            members = {PurePosixPath(member.filename).name: member for member in content.infolist()}
            if missing := [name for name in _FILES if name not in members]:
                raise ValueError(f"no {' and no '.join(missing)} in it")
            for name in _FILES:
                with content.open(members[name]) as packed, (unfinished / name).open("xb") as file:
                    shutil.copyfileobj(packed, file)
    except (ValueError, OSError) as error:
        raise ConversionError(
            f"{archive}: expected a zip of MIND that can be unpacked, got: {error} If the disk is "
            "not full, remove it and download it again."
        ) from error
