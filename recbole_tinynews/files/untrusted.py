"""Read untrusted files: any error becomes a ``ValueError`` that names the file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LARGEST = 1 << 24  # bytes of a JSON file


@contextmanager
def untrusted(file: Path) -> Iterator[None]:
    """Turn errors, except a missing file or module, into a ``ValueError`` that names ``file``."""
    try:
        yield
    except (FileNotFoundError, ModuleNotFoundError):
        raise
    except Exception as problem:
        if isinstance(problem, ValueError) and str(file.parent) in str(problem):
            raise  # already names a file
        why = " ".join(str(problem).split())[:300].rstrip(".")
        raise ValueError(
            f"{file} cannot be used: {type(problem).__name__}: {why}. Write it again, or "
            "copy it again."
        ) from problem


def read_json(file: Path) -> Any:
    """Parse a JSON file; ``ValueError`` if over ``LARGEST``, nested too deeply, or invalid."""
    if (size := file.stat().st_size) > LARGEST:
        raise ValueError(f"{file} expects at most {LARGEST:,} bytes, got {size:,}.")
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as problem:
        raise ValueError(f"{file} is not valid JSON: {str(problem)[:300]}") from problem
