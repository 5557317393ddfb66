"""What settings mean, read from the comments of the yaml files that declare them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

_SETTING = re.compile(r"(?P<name>\w+):[^#]*(?:#\s*(?:\((?P<kind>[^)]*)\))?\s*(?P<text>.*))?$")
_CONTINUED = re.compile(r"\s+#\s*(?P<text>.*)$")


class Meaning(NamedTuple):
    """The comment behind a setting: ``# (kind) text``, which may go on in the next lines."""

    kind: str
    text: str


NOTHING = Meaning("", "")


def meaning_of(name: str, files: Iterable[Path]) -> Meaning:
    """The meaning of a setting from the last of the files that says anything of it."""
    said = [meaning for file in files if (meaning := meanings(file).get(name, NOTHING)).text]
    return said[-1] if said else NOTHING


@cache
def meanings(file: Path) -> dict[str, Meaning]:
    r"""The meaning of each setting that a yaml file declares.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "some.yaml")
    ...     _ = file.write_text("epochs: 4  # (int) Passes\n           #  over the clicks.\n")
    ...     meanings(file)
    {'epochs': Meaning(kind='int', text='Passes over the clicks.')}
    """
    found: dict[str, Meaning] = {}
    name = ""  # of the setting that the line before is about
    for line in file.read_text(encoding="utf-8").splitlines():
        if declared := _SETTING.match(line):
            name = declared["name"]
            found[name] = Meaning(declared["kind"] or "", (declared["text"] or "").strip())
        elif name and (more := _CONTINUED.match(line)):
            kind, text = found[name]
            found[name] = Meaning(kind, f"{text} {more['text'].strip()}".strip())
        else:
            name = ""
    return found
