"""A page of tables and figures in one HTML file that needs nothing else: it works offline.

Whatever comes from outside (labels, settings, reasons) is text. The page's policy lets nothing be
loaded, and runs its own script alone.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from recbole_tinynews.benchmark.result_table import Cell, Table

_PAGE = Path(__file__).parent / "page"
# a number, its deviation or the end of its interval, and a mark
_NUMBER = re.compile(
    r"(?:p [=<] )?([+-]?\d[\d,]*(?:\.\d+)?)(?: (?:±|to) [+-]?[\d,]+(?:\.\d+)?)?[†*]?"
)


class Picture(NamedTuple):
    """A figure as SVG, and what it shows in words."""

    svg: str
    caption: str


class Section(NamedTuple):
    """A part of the page with a title of its own; tables of which nothing is shown are left out."""

    title: str
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    paragraphs: Sequence[str] = ()


def as_page(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """The page, whole."""
    style, script = (
        (_PAGE / f"report.{kind}").read_text(encoding="utf-8") for kind in ("css", "js")
    )
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; "
        f"script-src '{_hash(script)}'; base-uri 'none'; form-action 'none'"
    )
    links = "".join(
        f'<li><a href="#{_name(each.title)}">{escape(each.title)}</a></li>' for each in sections
    )
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            '<head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>",
            f"<style>{style}</style></head>",
            f"<body><header><h1>{escape(title)}</h1><p>{escape(subtitle)}</p>",
            f'<nav aria-label="Sections"><ul>{links}</ul></nav></header>',
            "<main>",
            *(_section(each) for each in sections),
            "</main>",
            f"<script>{script}</script></body></html>",
            "",
        ]
    )


def _section(section: Section) -> str:
    name = _name(section.title)
    parts = [f'<section aria-labelledby="{name}"><h2 id="{name}">{escape(section.title)}</h2>']
    parts += [f"<p>{escape(each)}</p>" for each in section.paragraphs]
    if section.pictures:
        parts += ['<div class="figures">', *map(_picture, section.pictures), "</div>"]
    for table in section.tables:
        parts += _table(section.title, table)
    return "\n".join([*parts, "</section>"])


def _picture(picture: Picture) -> str:
    # as an image: ids of two SVGs in one document would be mixed up, and no script in it runs
    data = base64.b64encode(picture.svg.encode()).decode()
    return (
        f'<figure><img src="data:image/svg+xml;base64,{data}" alt="{escape(picture.caption)}">'
        f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
    )


def _table(title: str, table: Table) -> Iterator[str]:
    """The table, which can be scrolled by keyboard where it is wider than the page."""
    words = _columns_of_words(table)
    heads = "".join(
        f'<th scope="col"{_class("text" if place in words else "")}>{escape(head)}</th>'
        for place, head in enumerate(table.head)
    )
    yield f'<div class="wide" role="region" tabindex="0" aria-label="{escape(title)}"><table>'
    yield f"<caption>{escape(title)}</caption><thead><tr>{heads}</tr></thead><tbody>"
    place = 0
    for group in table.groups:
        for number, cells in enumerate(group):
            first = _class("first" if number == 0 and place else "")
            yield f'<tr data-place="{place}"{first}>{_cells(cells, words, len(table.head))}</tr>'
            place += 1
    yield "</tbody></table></div>"
    yield from (f'<p class="note">{escape(note)}</p>' for note in table.notes)


def _cells(cells: Sequence[Cell], words: set[int], width: int) -> str:
    texts = [f'<th scope="row">{escape(cells[0].text)}</th>']
    for place, cell in enumerate(cells[1:], start=1):
        spans = f' colspan="{width - place}"' if len(cells) < width else ""
        is_text = place in words or bool(spans)
        found = None if is_text else _NUMBER.fullmatch(cell.text)
        value = f' data-value="{found[1].replace(",", "")}"' if found else ""
        kind = " ".join(["text"] * is_text + ["best"] * cell.best)
        texts.append(f"<td{_class(kind)}{spans}{value}>{escape(cell.text)}</td>")
    return "".join(texts)


def _columns_of_words(table: Table) -> set[int]:
    """Places of the columns that hold no numbers; the first one has names."""
    width = len(table.head)
    lines = [cells for group in table.groups for cells in group if len(cells) == width]
    return {0} | {
        place
        for place in range(1, width)
        if not all(_NUMBER.fullmatch(cells[place].text) or not cells[place].text for cells in lines)
    }


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""


def _name(title: str) -> str:
    return re.sub("[^a-z0-9]+", "-", title.lower()).strip("-")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
