"""MIND's impressions read a second time, as the format says: what a conversion must keep.

And ways to spoil their lines. The test of the converter and ``benchmarks/reliability`` share it.
"""

from __future__ import annotations

import random
import re
from datetime import datetime, timezone
from pathlib import Path

PIECES = [
    *(b"\t", b" ", b"  ", b"\r", b"\n", b"\0", b"\xff", b"\xc3"),
    *(b"\xed\xa0\x80", b"\xf4\x90\x80\x80"),
    *("\xa0", "\u2028", "\x85", "\x0b", "\x1c", "\u3000", "\ufeff", "\u200b", "é", "😀", "٣"),
    *(b"-", b"-0", b"-1", b"-2", b"-0 ", b"-1 ", b"0", b"1", b"N", b"[PAD]", b'"', b"'", b"\\"),
    *(b"AM", b"PM", b"13:00:00", b"2/30/2019", b"/", b":", b"NA", b"nan", b"null", b"%s", b"../"),
]
BYTES = [piece.encode() if isinstance(piece, str) else piece for piece in PIECES]


def spoil(line: bytes, rng: random.Random) -> bytes:
    """Make one to three changes at random places."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        start = rng.randrange(len(line) + 1)
        stop_ = min(len(line), start + rng.choice((0, 1, 1, 2, 5, 20)))
        kind = rng.randrange(5)
        if kind == 0:
            new = rng.choice(BYTES)  # in place of a stretch, or between two bytes
        elif kind == 1:
            new = b""
        elif kind == 2:
            new = line[start:stop_] * 2
        elif kind == 3:
            new = bytes([rng.randrange(256)])
        else:
            new = line[start:stop_][::-1]
        line = line[:start] + new + line[stop_:]
    return line


def is_id(text: str) -> bool:
    return text.split() == [text] and text != "[PAD]"


def plain_columns(line: bytes, columns: int) -> list[str] | None:
    try:
        fields = line.decode().split("\t")
    except UnicodeDecodeError:
        return None
    return None if b"\0" in line or len(fields) != columns else fields


def plain_impression(line: bytes) -> list[str] | None:
    """The row of the atomic file, or None for a line that is invalid by itself."""
    fields = plain_columns(line, 5)
    if fields is None:
        return None
    number, user, time, history, shown = fields
    if (
        re.fullmatch(r"[0-9]{1,2}/[0-9]{1,2}/[0-9]{4} [0-9]{1,2}:[0-9]{2}:[0-9]{2} [AP]M", time)
        is None
    ):
        return None
    try:
        moment = datetime.strptime(time, "%m/%d/%Y %I:%M:%S %p").replace(tzinfo=timezone.utc)
    except ValueError:
        return None
    parts = shown.split(" ")
    ids = [part[:-2] for part in parts]
    clicks = history.split(" ") if history else []
    if not all(map(is_id, [number, user, *clicks, *ids])):
        return None
    if not all(part.endswith(("-0", "-1")) for part in parts) or moment.second > 59:
        return None
    labels = " ".join(part[-1] for part in parts)
    return [number, user, str(int(moment.timestamp())), history, " ".join(ids), labels]


def lines_of(content: bytes) -> list[bytes]:
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    return [line.removesuffix(b"\r") for line in (lines if lines[-1] else lines[:-1])]


def expected_impressions(content: bytes) -> list[list[str]]:
    kept: dict[str, list[str]] = {}
    for line in lines_of(content):
        row = plain_impression(line)
        if row is not None:
            kept.setdefault(row[0], row)
    return list(kept.values())


def read(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_bytes().decode().split("\n")[1:-1]]
