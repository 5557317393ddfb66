"""Meanings of settings and models, from comments in yaml files and docstrings."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

OURS = Path(__file__).resolve().parents[1] / "model"

_SETTING = re.compile(r"(?P<name>\w+):[^#]*(?:#\s*(?:\((?P<kind>[^)]*)\))?\s*(?P<text>.*))?$")
_CONTINUED = re.compile(r"\s+#\s*(?P<text>.*)$")


class Meaning(NamedTuple):
    """The comment on a setting, ``# (kind) text``, which may span several lines."""

    kind: str
    text: str


NOTHING = Meaning("", "")


def meaning_of(name: str, files: Iterable[Path]) -> Meaning:
    """The meaning of a setting, from the last file that describes it."""
    said = [meaning for file in files if (meaning := meanings(file).get(name, NOTHING)).text]
    return said[-1] if said else NOTHING


@cache
def meanings(file: Path) -> dict[str, Meaning]:
    r"""Meanings of the settings in a yaml file.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "some.yaml")
    ...     _ = file.write_text("epochs: 4  # (int) Passes\n           #  over the clicks.\n")
    ...     meanings(file)
    {'epochs': Meaning(kind='int', text='Passes over the clicks.')}
    """
    found: dict[str, Meaning] = {}
    name = ""  # setting of the previous line
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


def meaning_of_model(module: str) -> str:
    """First sentence of a docstring in ``model/``."""
    return _first_sentence(ast.get_docstring(_parse(OURS / f"{module}.py")) or "")


def meaning_of_recbole_model(file: Path, name: str) -> str:
    """First sentence of a RecBole class's docstring, or else the title of its paper."""
    tree = _parse(file)
    classes = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    of_class = [_first_sentence(ast.get_docstring(node) or "") for node in classes]
    quoted = re.search(r'"([^"]+)"', ast.get_docstring(tree) or "")
    title = " ".join(quoted[1].split()).rstrip(".") if quoted else ""
    return next(filter(None, of_class), title)


def _parse(file: Path) -> ast.Module:
    with warnings.catch_warnings():  # RecBole's docstrings contain formulas with backslashes
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)  # its category before Python 3.12
        return ast.parse(file.read_text(encoding="utf-8"))


def _first_sentence(docstring: str) -> str:
    paragraph = " ".join(docstring.partition("\n\n")[0].split())
    sentence, stop, _ = paragraph.partition(". ")
    return sentence + stop.strip()
