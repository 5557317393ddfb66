"""What somebody may put into the files of a recommender's folder."""

from __future__ import annotations

from pathlib import Path

from recbole_tinynews.files.array_cache import checksums
from recbole_tinynews.pipeline.artifact import FILES, files_of, read_metrics, write_metrics

DEEP = b"[" * 100_000
CONTENTS = (
    *(b"", b"[]", b"{}", b"{", b"3", b"null", b'"x"', b'{"files": 3}', b"caf\xe9: {\xff}"),
    *(b"[1, 2]", b"a: b: c", b"model_class: !!python/name:os", b"seed: 1"),
    *(DEEP, DEEP + b"]" * 100_000, b"{" * 9_999),
)
# 440 bytes of yaml that stand for 2**27 numbers
ALIASES = "\n".join(
    ["a0: &a0 [1, 1]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 27))]
)


def checked_anew(folder: Path) -> None:
    """As a stranger would: with checksums that fit."""
    write_metrics(folder, {**read_metrics(folder), FILES: checksums(folder, files_of(folder))})
