"""Site hook: the reference of every setting, from the yaml files that declare it and its rule.

A line with this marker is replaced by all settings: ``<!-- every setting -->``. Name, defaults,
type and meaning are those of the yaml, values that are accepted and what a setting affects those
of ``settings/declared.py``: nothing is written a second time.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from mkdocs.structure.pages import Page

from recbole_tinynews.settings.declared import (
    OURS,
    RECBOLES,
    Affects,
    Models,
    Scope,
    Setting,
    setting,
)
from recbole_tinynews.settings.names import split_stage

PROPERTIES = Path(__file__).parents[2] / "properties"
STAGES = [file.stem for file in sorted((PROPERTIES / "stage").glob("*.yaml"))]
MARKER = "<!-- every setting -->"
# name: default  # (type) meaning
DECLARATION = re.compile(r"^(?P<name>[\w-]+):\s*(?P<default>.*?)\s*(?:#\s*(?P<comment>.*))?$")
CONTINUATION = re.compile(r"^\s+#\s*(?P<more>.*)$")
HEADING = re.compile(r"^#\s*(?P<title>[^,]*).*$")
COMMENT = re.compile(r"^\((?P<kind>.*?)\)\s*(?P<meaning>.*)$")
UNSET = {"", "~", "None"}
NO_SETTINGS = {"with_plm", "as_in"}  # they say for whom, or from where, values are taken


class Declared(NamedTuple):
    """One declaration: where, under which heading, and what it says."""

    source: str
    group: str
    name: str
    default: str
    kind: str
    meaning: str


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Put the settings in place of the marker."""
    if MARKER not in markdown:
        return markdown
    return markdown.replace(MARKER, "\n".join(_sections()))


def declarations(file: Path, source: str) -> list[Declared]:
    """The settings of a yaml file, with the comments that document them."""
    found: list[Declared] = []
    group = last = ""
    for line in file.read_text(encoding="utf-8").splitlines():
        if (heading := HEADING.match(line)) and not last:
            group = heading["title"].removesuffix(" Settings").removesuffix(".")
        elif (more := CONTINUATION.match(line)) and DECLARATION.match(last):
            found[-1] = found[-1]._replace(meaning=f"{found[-1].meaning} {more['more']}".strip())
            continue  # its own next line may follow
        elif declared := DECLARATION.match(line):
            comment = declared["comment"] or ""
            kind, meaning = (COMMENT.match(comment) or re.match(r"()(.*)", comment)).groups()
            found.append(Declared(source, group, declared[1], declared[2], kind, meaning.strip()))
        last = line
    return found


def all_declarations() -> list[Declared]:
    """Those of every file that declares settings or sets defaults, most general first."""
    found = declarations(PROPERTIES / "overall.yaml", "every news recommender")
    for file in sorted((PROPERTIES / "model").glob("*.yaml")):
        found += declarations(file, f"`{file.stem}`")
    for file in sorted((PROPERTIES / "stage").glob("*.yaml")):
        found += declarations(file, f"stage `{file.stem}`")
    found += declarations(PROPERTIES / "impressions.yaml", "models that train nothing")
    found += declarations(PROPERTIES / "recbole.yaml", "RecBole's models")
    recboles = Path(importlib.util.find_spec("recbole").origin).parent / "properties"
    for name in ("overall.yaml", "dataset/sample.yaml"):
        found += declarations(recboles / name, "RecBole")
    for file in sorted((PROPERTIES / "dataset").glob("*.yaml")):
        found += declarations(file, f"data set `{file.stem}`")
    return [_of_stage(each) for each in found if each.name not in NO_SETTINGS]


def _of_stage(declared: Declared) -> Declared:
    """A value for one stage, under the setting's plain name."""
    stage, name = split_stage(declared.name, STAGES)
    if stage is None:
        return declared
    return declared._replace(name=name, source=f"stage `{stage}` of {declared.source}")


def _sections() -> Iterator[str]:
    by_name: dict[str, list[Declared]] = {}
    for each in all_declarations():
        by_name.setdefault(each.name, []).append(each)
    yield from _overview(by_name)
    groups: dict[str, list[list[Declared]]] = {}
    for rows in by_name.values():
        groups.setdefault(_title(rows[0]), []).append(rows)
    for title, settings in groups.items():
        yield f"\n## {title}\n"
        for rows in sorted(settings, key=lambda rows: rows[0].name.lower()):
            yield from _entry(rows)
    yield from _undeclared({*by_name})


def _title(first: Declared) -> str:
    if first.source == "every news recommender":
        return first.group
    if first.source.startswith(("`", "stage", "data set")):
        return "Of some models and stages"
    return {"RecBole": "RecBole's own"}.get(first.source, f"Of {first.source}")


def _overview(by_name: dict[str, list[Declared]]) -> Iterator[str]:
    yield "| setting | default | meaning |\n| --- | --- | --- |"
    ours_first = sorted(
        by_name.items(), key=lambda each: (_title(each[1][0]) == "RecBole's own", each[0].lower())
    )
    for name, rows in ours_first:
        meaning = _meaning(rows).replace("|", "\\|")
        yield f"| [`{name}`](#{name}) | {_value(rows[0].default)} | {meaning} |"


def _entry(rows: list[Declared]) -> Iterator[str]:
    first, row = rows[0], setting(rows[0].name)
    yield f"### `{first.name}` {{ #{first.name} }}\n"
    yield f"{_meaning(rows)}\n"
    kind = next((each.kind for each in rows if each.kind), "")
    expects = row.rule.expected if row.rule else f"a value of the type {kind}"
    yield f"- Expects {expects}."
    yield f"- {_effects(row)}"
    yield f"- Default: {_value(first.default)} ({first.source})."
    if rows[1:]:
        yield "- Others:"
        yield from (
            f"    - {_value(each.default)} ({each.source}){_said(each)}" for each in rows[1:]
        )
    yield ""


def _said(declared: Declared) -> str:
    return f": {declared.meaning}" if declared.meaning else ""


def _meaning(rows: Iterable[Declared]) -> str:
    """The first one that a file gives."""
    return next((each.meaning for each in rows if each.meaning), "")


def _value(default: str) -> str:
    return "none" if default in UNSET else f"`{default}`".replace("|", "\\|")


def _effects(row: Setting) -> str:
    """Where it can be set, what depends on it, and who leaves it aside."""
    said = ["One value for the whole run." if row.scope is Scope.RUN else "A stage may differ."]
    said.append(
        {
            Affects.RESULT: "Another value retrains what reads it.",
            Affects.STUDENTS: "Another value retrains the stages that have teachers.",
            Affects.STAGES: "It decides which stages there are.",
            Affects.NOTHING: "It changes no result: finished stages are reused.",
        }[row.affects]
    )
    if Models.NEWS in row.unread_by:
        said.append("News recommenders don't read it, and say so.")
    return " ".join(said)


def _undeclared(declared: set[str]) -> Iterator[str]:
    """Settings that no yaml has a default for: RecBole reads them where they are given."""
    yield "\n## Without a default\n"
    for row in (*OURS, *RECBOLES):
        if row.name not in declared:
            rule = f"expects {row.rule.expected}" if row.rule else "any value"
            yield f"- `{row.name}`: {rule}. {_effects(row)}"
