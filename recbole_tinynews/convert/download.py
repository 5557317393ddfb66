"""Download a file over HTTP: a broken download is resumed, a wrong file is refused.

With the standard library: one GET with ``Range`` needs no more, and the HTTP clients that RecBole
and Transformers depend on change with their versions.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from recbole_tinynews.bars import progress_bar
from recbole_tinynews.convert.errors import ConversionError
from recbole_tinynews.files.whole import resumable_file

ATTEMPTS = 5  # connections tried in a row without a single new byte
SECONDS_BETWEEN = 2.0
TIMEOUT = 60  # seconds without a byte

_BLOCK = 1 << 20
_RETRIED_STATUS = (408, 429, 500, 502, 503, 504)
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")


class Source(NamedTuple):
    """A file to fetch, with its size and SHA-256 in hexadecimal where they are known."""

    url: str
    bytes: int | None = None
    sha256: str | None = None


class _Broken(Exception):  # noqa: N818  not an error yet: it is tried again
    """The connection failed or ended early; what was received is kept."""


def fetch(source: Source, target: Path) -> str:
    """Download the file to ``target`` unless it exists, and return its SHA-256.

    What was received so far is in ``.NAME.partial``, which is renamed when it is complete and
    checked.

    Raises:
        ConversionError: the server doesn't give it, or size or checksum are wrong.
    """
    if target.exists():
        return _checked(target, source, f"Remove {target} to download it again.")
    _check_url(source.url)
    try:
        with resumable_file(target) as part:
            _receive_all(source, part)
            try:
                return _checked(part, source, "It was removed; try again, or from another server.")
            except ConversionError:
                part.unlink()  # else every later attempt would resume from it
                raise
    except OSError as error:
        raise ConversionError(f"{target}: expected to write the download, got: {error}.") from error


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ConversionError(f"{url}: expected an address http://HOST/... or https://HOST/...")


def _receive_all(source: Source, part: Path) -> None:
    failures = 0
    while True:
        before = _size(part)
        try:
            _receive(source, part)
        except _Broken as broken:
            failures = 1 if _size(part) > before else failures + 1
            if failures >= ATTEMPTS:
                raise ConversionError(
                    f"{source.url}: expected the whole file, the connection broke after "
                    f"{_size(part):,} bytes: {broken}. Run the same command again to resume there."
                ) from broken
            time.sleep(SECONDS_BETWEEN * failures)
        else:
            return


def _receive(source: Source, part: Path) -> None:
    """One connection; returns when the file is complete."""
    start = _size(part)
    if start and start == source.bytes:
        return
    response = _opened(source, start)
    if response is None:  # our part is complete, or longer than the file
        _settle_unsatisfiable(source, part)
        return
    with response:
        start, total = _place(response, source, start)
        if source.bytes is not None and total not in (None, source.bytes):
            raise ConversionError(_wrong_size(source, total))
        received = _write(response, part, start, total)
    if total is not None and received < total:
        raise _Broken(f"{total - received:,} bytes are missing")


def _opened(source: Source, start: int) -> http.client.HTTPResponse | None:
    """The response, None for status 416."""
    headers = {"User-Agent": "recbole-tinynews", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        request = urllib.request.Request(source.url, headers=headers)
        return urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and start:
                return None
            if error.code in _RETRIED_STATUS:
                raise _Broken(f"HTTP {error.code} {error.reason}") from error
            raise ConversionError(
                f"{source.url}: expected the file, got HTTP {error.code} {error.reason}."
            ) from error
    except (http.client.InvalidURL, ValueError) as error:
        raise ConversionError(f"{source.url}: expected an address, got: {error}.") from error
    except (OSError, http.client.HTTPException) as error:  # URLError and timeouts are OSErrors
        raise _Broken(str(getattr(error, "reason", error) or type(error).__name__)) from error


def _place(
    response: http.client.HTTPResponse, source: Source, start: int
) -> tuple[int, int | None]:
    """The offset of the bytes that follow, and the size of the whole file."""
    if response.status != 206:  # a server without Range sends all of it
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdigit() else source.bytes
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match is None or match[1] is None or int(match[1]) != start:
        raise ConversionError(
            f"{source.url}: expected the bytes from {start}, got Content-Range "
            f"{response.headers.get('Content-Range')!r}. Remove the .partial file to start again."
        )
    return start, int(match[2]) if match[2].isdigit() else source.bytes


def _write(response: http.client.HTTPResponse, part: Path, start: int, total: int | None) -> int:
    """Write what is received from ``start`` on; return the size reached."""
    bar: Any = progress_bar(desc=part.stem, total=total, initial=start, unit="B", unit_scale=True)
    with bar, part.open("r+b" if start else "wb") as file:
        file.seek(start)
        file.truncate()
        while True:
            try:
                block = response.read(_BLOCK)
            except (OSError, http.client.HTTPException) as error:
                raise _Broken(str(error) or type(error).__name__) from error
            if not block:
                return file.tell()
            file.write(block)
            bar.update(len(block))


def _settle_unsatisfiable(source: Source, part: Path) -> None:
    """Handle status 416: delete a part that is not of this file, and try again."""
    size = _size(part)
    if source.bytes is None or size > source.bytes:
        part.unlink()
        raise _Broken(f"the server has nothing after byte {size:,}: starting again")
    raise _Broken(f"the server has nothing after byte {size:,}, expected {source.bytes:,}")


def _checked(file: Path, source: Source, remedy: str) -> str:
    size = _size(file)
    if source.bytes is not None and size != source.bytes:
        raise ConversionError(f"{_wrong_size(source, size)} {remedy}")
    digest = _sha256(file)
    if source.sha256 and digest != source.sha256.lower():
        raise ConversionError(
            f"{source.url}: expected SHA-256 {source.sha256}, got {digest}. {remedy}"
        )
    return digest


def _wrong_size(source: Source, size: int | None) -> str:
    return f"{source.url}: expected {source.bytes:,} bytes, got {size:,}."


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while block := content.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
