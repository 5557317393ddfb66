"""Download MIND's releases with pooch, unpack them, and assign them to splits."""

from __future__ import annotations

import errno
import os
import stat
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from recbole_tinynews.bars import progress_bar
from recbole_tinynews.convert.errors import ConversionError, quoted
from recbole_tinynews.convert.options import LAST_DAY
from recbole_tinynews.convert.readers.mind import IMPRESSIONS_FILE, NEWS_FILE
from recbole_tinynews.files.locks import LockHeldError, exclusive_lock
from recbole_tinynews.files.whole import whole_folder
from recbole_tinynews.installing import pip_install

LARGEST = 16 << 30  # bytes per unpacked file; the largest of MIND-large has 1.4 billion

_READ_AT_ONCE = 1 << 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# What zipfile raises for damaged files, besides OSError.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    RuntimeError,
    ValueError,
    OverflowError,
)
DEFAULT_FOLDER = Path("~", ".cache", "recbole_tinynews", "mind")
TIMEOUT = 60  # seconds without data
RETRIES = 2  # after 1 and 2 seconds; rerunning the command resumes too
_FILES = (IMPRESSIONS_FILE, NEWS_FILE)
_BLOCK = 1 << 16  # bytes; a broken connection loses the last block
_TRANSIENT = (408, 416, 429)  # 4xx that may succeed later, or without Range


def unpack(archive: Path, folder: Path, wanted: Sequence[str]) -> None:
    """Extract all wanted files, at most one folder deep; a ``ConversionError`` leaves none."""
    try:
        with whole_folder(folder) as unfinished, zipfile.ZipFile(archive) as content:
            for name, member in _members(archive, content, wanted).items():
                _extract(content, member, unfinished / name)
    except ConversionError:
        raise
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # a full disk, say
            raise
        raise ConversionError(
            f"{archive}: expected a complete zip, got a damaged one ({error}). Remove it and "
            "download it again."
        ) from error


def _members(
    archive: Path, content: zipfile.ZipFile, wanted: Sequence[str]
) -> dict[str, zipfile.ZipInfo]:
    members: dict[str, zipfile.ZipInfo] = {}
    for member in content.infolist():
        path = PurePosixPath(member.filename)
        problem = _harm(member, path)
        if problem is None and path.name in wanted and len(path.parts) <= 2 and not member.is_dir():
            if path.name in members:
                problem = f"a second {path.name}"
            members[path.name] = member
        if problem is not None:
            raise ConversionError(
                f"{archive}: expected files of MIND, got {problem}: {quoted(member.filename)}. "
                "Nothing was unpacked; don't use this archive."
            )
    if missing := [name for name in wanted if name not in members]:
        raise ConversionError(
            f"{archive}: expected {' and '.join(wanted)}, found no {' and no '.join(missing)}."
        )
    return members


def _harm(member: zipfile.ZipInfo, path: PurePosixPath) -> str | None:
    name = member.filename
    if path.is_absolute() or ".." in path.parts or "\\" in member.orig_filename or ":" in name:
        return "a path that leaves the folder"
    mode = member.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a link or device"
    if member.file_size > LARGEST:
        return f"a file of {member.file_size:,} bytes"
    if member.flag_bits & 0x1:
        return "an encrypted file"
    if member.compress_type not in _METHODS:
        return f"a file packed by method {member.compress_type}"
    return None


def _extract(content: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    bar = progress_bar(desc=target.name, total=member.file_size, unit="B", unit_scale=True)
    # zipfile reads at most the declared size, then checks the CRC.
    with bar, content.open(member) as packed, target.open("xb") as file:
        while block := packed.read(_READ_AT_ONCE):
            file.write(block)
            bar.update(len(block))


RELEASES = ("demo", "small", "large")  # keys in downloads.yaml


def download(release: str, folder: Path, base_url: str | None = None) -> dict[str, str | Path]:
    """Download and unpack a release, unless present; return its splits, or ``ConversionError``."""
    known = _known()
    base_url = base_url or known["base_url"]
    folder = folder.expanduser()
    print(known["notice"], file=sys.stderr)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(folder / release, f"downloading MIND-{release} there", wait=False):
            parts = {
                split: _unpacked(entry, folder, base_url)
                for split, entry in known["releases"][release].items()
            }
    except LockHeldError as error:
        raise ConversionError(str(error)) from error
    except OSError as error:
        raise ConversionError(
            f"--download-dir={folder}: expected a folder that can be written to, got: {error}."
        ) from error
    if "test" in parts:
        return {"train": parts["train"], "valid": parts["dev"], "test": parts["test"]}
    return {"train": parts["train"], "valid": LAST_DAY, "test": parts["dev"]}


def _known() -> dict[str, Any]:
    text = Path(__file__).with_name("downloads.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def _unpacked(entry: dict[str, Any], folder: Path, base_url: str) -> Path:
    archive = folder / entry["file"]
    unpacked = archive.with_suffix("")
    if all((unpacked / name).is_file() for name in _FILES):  # renamed into place when complete
        return unpacked
    digest = fetch(archive, base_url, entry["bytes"], entry["sha256"])
    known = "as expected" if entry["sha256"] else "no checksum is known to compare it with"
    print(
        f"{archive}: {archive.stat().st_size:,} bytes, SHA-256 {digest} ({known})", file=sys.stderr
    )
    unpack(archive, unpacked, _FILES)
    return unpacked


def fetch(file: Path, base_url: str, size: int | None = None, sha256: str | None = None) -> str:
    """Download ``base_url/NAME`` to ``file`` unless it is there, intact; return its SHA-256."""
    try:
        import pooch
    except ModuleNotFoundError as error:
        raise ConversionError(
            "--download expects pooch, which is not installed. Install the extra `download`: "
            f"{pip_install('download')}"
        ) from error
    base_url = f"{base_url.rstrip('/')}/"
    mirror = pooch.create(
        file.parent, base_url, registry={file.name: sha256}, retry_if_failed=RETRIES
    )
    try:
        mirror.fetch(file.name, downloader=_resuming(file))
        if size not in (None, found := file.stat().st_size):
            raise ValueError(f"{found:,} bytes instead of {size:,}; remove {file} to try again")
    except (OSError, ValueError) as error:  # requests raises OSErrors
        raise ConversionError(
            f"{base_url}{file.name}: expected a download to {file.parent}, got: {error}. The same "
            "command resumes a broken download; --download-url names another server."
        ) from error
    return pooch.file_hash(str(file))


def _resuming(file: Path) -> Callable[..., None]:
    """A pooch downloader that resumes from ``.NAME.partial``; pooch's own starts over."""
    from pooch import HTTPDownloader

    partial = file.with_name(f".{file.name}.partial")

    def resume(url: str, output_file: str, mirror: object) -> None:
        with (
            partial.open("ab") as received,
            progress_bar(desc=file.name, total=1, unit="B", unit_scale=True) as bar,
        ):

            def inspect(response: Any, **_: object) -> None:
                status = response.status_code
                if status in (200, 416):  # Range was ignored, or starts past the end
                    received.truncate(0)
                elif 400 <= status < 500 and status not in _TRANSIENT:
                    raise FileNotFoundError(f"HTTP {status} {response.reason}")  # no retry

            start = received.tell()
            headers = {"Accept-Encoding": "identity"}
            headers |= {"Range": f"bytes={start}-"} if start else {}
            http = HTTPDownloader(
                bar, _BLOCK, headers=headers, hooks={"response": inspect}, timeout=TIMEOUT
            )
            http(url, received, mirror)
        os.replace(partial, output_file)

    return resume
