"""Site hook: a page of the API reference for each room of the package, and a list of them.

The pages have one mkdocstrings directive for each module, so a new module or room is there at once.
The list stands where a page has this marker: ``<!-- every room -->``.
"""

from __future__ import annotations

import ast
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PACKAGE = Path(__file__).parents[2] / "recbole_tinynews"
FOLDER = "reference/rooms"  # beside the page with the marker
MARKER = "<!-- every room -->"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page of each room."""
    for room in rooms():
        content = "\n\n".join([f"# {room.name}", *map(_directive, modules(room))])
        files.append(File.generated(config, f"{FOLDER}/{room.name}.md", content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Put the list in place of the marker."""
    if MARKER not in markdown:
        return markdown
    rows = [f"| [`{room.name}`](rooms/{room.name}.md) | {_purpose(room)} |" for room in rooms()]
    return markdown.replace(MARKER, "\n".join(["| room | what |", "| --- | --- |", *rows]))


def rooms() -> list[Path]:
    """The folders of the package that are packages themselves."""
    return sorted(file.parent for file in PACKAGE.glob("*/__init__.py"))


def modules(room: Path) -> list[str]:
    """The modules of a room by name, its own first."""
    files = sorted(room.rglob("*.py"), key=lambda file: (file.parent, file.name != "__init__.py"))
    named = [file.relative_to(PACKAGE.parent).with_suffix("").parts for file in files]
    return [".".join(part for part in parts if part != "__init__") for parts in named]


def _directive(module: str) -> str:
    """A module is a part of its room's page; elsewhere objects stand under a heading."""
    return f"::: {module}\n    options:\n      heading_level: 2"


def _purpose(room: Path) -> str:
    tree = ast.parse((room / "__init__.py").read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").splitlines()[0]
