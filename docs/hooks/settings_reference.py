"""Site hook: the reference of every setting, from the yaml files that declare it and its rule.

A line with this marker is replaced by all settings: ``<!-- every setting -->``. Name, defaults,
type and meaning are those of the yaml, values that are accepted and what a setting affects those
of ``settings/table.py``: nothing is written a second time.
"""

from __future__ import annotations

from collections.abc import Iterator

from mkdocs.structure.pages import Page

from recbole_tinynews.settings.reference import (
    EVERY,
    RECBOLE,
    Entry,
    all_entries,
    effects,
    meaning_of,
)
from recbole_tinynews.settings.table import OURS, RECBOLES, setting
from recbole_tinynews.settings.values import shown

MARKER = "<!-- every setting -->"


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Put the settings in place of the marker."""
    if MARKER not in markdown:
        return markdown
    return markdown.replace(MARKER, "\n".join(_sections()))


def _sections() -> Iterator[str]:
    by_name: dict[str, list[Entry]] = {}
    for each in all_entries():
        by_name.setdefault(each.name, []).append(each)
    yield from _overview(by_name)
    groups: dict[str, list[list[Entry]]] = {}
    for rows in by_name.values():
        groups.setdefault(_title(rows[0]), []).append(rows)
    for title, settings in groups.items():
        yield f"\n## {title}\n"
        for rows in sorted(settings, key=lambda rows: rows[0].name.lower()):
            yield from _entry(rows)
    yield from _undeclared({*by_name})


def _title(first: Entry) -> str:
    if first.origin == EVERY:
        return first.group
    if first.origin in ("models that train nothing", "RecBole's models on impressions"):
        return f"Of {first.origin}"
    return "RecBole's own" if first.origin == RECBOLE else "Of some models and stages"


def _overview(by_name: dict[str, list[Entry]]) -> Iterator[str]:
    yield "| setting | default | meaning |\n| --- | --- | --- |"
    ours_first = sorted(
        by_name.items(), key=lambda each: (_title(each[1][0]) == "RecBole's own", each[0].lower())
    )
    for name, rows in ours_first:
        meaning = _meaning(rows).replace("|", "\\|")
        yield f"| [`{name}`](#{name}) | {_value(rows[0].value)} | {meaning} |"


def _entry(rows: list[Entry]) -> Iterator[str]:
    first, row = rows[0], setting(rows[0].name)
    yield f"### `{first.name}` {{ #{first.name} }}\n"
    yield f"{_meaning(rows)}\n"
    kind = next((each.kind for each in rows if each.kind), "")
    expects = row.rule.expected if row.rule else f"a value of the type {kind}"
    yield f"- Expects {expects}."
    yield f"- {' '.join(effects(row.name))}"
    yield f"- Default: {_value(first.value)} ({first.origin})."
    if rows[1:]:
        yield "- Others:"
        yield from (f"    - {_value(each.value)} ({each.origin}){_said(each)}" for each in rows[1:])
    yield ""


def _said(declared: Entry) -> str:
    return f": {declared.meaning}" if declared.meaning else ""


def _meaning(rows: list[Entry]) -> str:
    return meaning_of(rows[0].name, reversed(rows))[1]  # the most general one


def _value(default: object) -> str:
    return "none" if default is None else f"`{shown(default)}`".replace("|", "\\|")


def _undeclared(declared: set[str]) -> Iterator[str]:
    """Settings that no yaml has a default for: RecBole reads them where they are given."""
    yield "\n## Without a default\n"
    for row in (*OURS, *RECBOLES):
        if row.name not in declared:
            rule = f"expects {row.rule.expected}" if row.rule else "any value"
            yield f"- `{row.name}`: {rule}. {' '.join(effects(row.name))}"
