"""The files of a report that are text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from recbole_tinynews.files.whole import write_text


def write_texts(folder: Path, texts: Mapping[str, str]) -> list[str]:
    """Write texts by the names of their files; an empty one has no file, nor an outdated one.

    Returns:
        The names of the files.
    """
    for name, text in texts.items():
        if text:
            write_text(folder / name, text)
        else:
            (folder / name).unlink(missing_ok=True)
    return [name for name, text in texts.items() if text]
