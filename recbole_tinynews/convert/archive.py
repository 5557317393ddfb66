"""Extract selected files from an untrusted zip."""

from __future__ import annotations

import errno
import stat
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from recbole_tinynews.bars import progress_bar
from recbole_tinynews.convert.errors import ConversionError, quoted
from recbole_tinynews.files.whole import whole_folder

LARGEST = 16 << 30  # bytes per unpacked file; the largest of MIND-large has 1.4 billion

_BLOCK = 1 << 20
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


def unpack(archive: Path, folder: Path, wanted: Sequence[str]) -> None:
    """Extract the wanted files of a zip, at most one folder deep, into ``folder``: all or none.

    Raises:
        ConversionError: the zip is malicious or damaged, or a file is missing or occurs twice.
    """
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
            f"{archive}: expected a whole zip, got a damaged one ({error}). Remove it and download "
            "it again."
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
        while block := packed.read(_BLOCK):
            file.write(block)
            bar.update(len(block))
