"""Site hook: the reference of every setting, from the yaml files that declare it and its rule.

A line with this marker is replaced by all settings: ``<!-- every setting -->``. Name, defaults,
type and meaning are those of the yaml, values that are accepted and what a setting affects those
of ``settings/declared.py``: nothing is written a second time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mkdocs.structure.pages import Page

from recbole_tinynews.paths import packaged_folder
from recbole_tinynews.reference.defaults import WITH_PLM, meanings, stage_files
from recbole_tinynews.reference.pages import shown
from recbole_tinynews.settings.declared import (
    OURS,
    RECBOLES,
    Affects,
    Models,
    Scope,
    Setting,
    setting,
)
from recbole_tinynews.settings.layers import AS_IN, WITH_WORDS
from recbole_tinynews.settings.literals import read_yaml
from recbole_tinynews.settings.names import parse_key, recbole_overall_files

PROPERTIES = packaged_folder("properties")
MARKER = "<!-- every setting -->"
NO_SETTINGS = (WITH_PLM, WITH_WORDS, AS_IN)  # they say for whom, or from where, values are taken


class Declared(NamedTuple):
    """One declaration: where, under which heading, and what it says."""

    source: str
    group: str
    name: str
    default: Any
    kind: str
    meaning: str


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Put the settings in place of the marker."""
    if MARKER not in markdown:
        return markdown
    return markdown.replace(MARKER, "\n".join(_sections()))


def declarations(file: Path, source: str) -> list[Declared]:
    """The settings of a yaml file, with what its comments say of them."""
    said, groups = meanings(file), _groups(file)
    return [
        Declared(source, groups[name], name, value, *said[name])
        for name, value in read_yaml(file).items()
    ]


def _groups(file: Path) -> dict[str, str]:
    """The heading that each setting stands under: a comment after an empty line."""
    found, group, last = {}, "", ""
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") and not last:
            group = line.removeprefix("#").partition(",")[0].strip().removesuffix(" Settings")
        found[line.partition(":")[0]] = group
        last = line
    return found


def all_declarations() -> list[Declared]:
    """Those of every file that declares settings or sets defaults, most general first."""
    found = declarations(PROPERTIES / "overall.yaml", "every news recommender")
    for file in sorted((PROPERTIES / "model").glob("*.yaml")):
        found += declarations(file, f"`{file.stem}`")
    for stage, file in stage_files().items():
        found += declarations(file, f"stage `{stage}`")
    found += declarations(PROPERTIES / "impressions.yaml", "models that train nothing")
    found += declarations(PROPERTIES / "recbole.yaml", "RecBole's models")
    for file in recbole_overall_files():
        found += declarations(file, "RecBole")
    for file in sorted((PROPERTIES / "dataset").glob("*.yaml")):
        found += declarations(file, f"data set `{file.stem}`")
    return [_of_stage(each) for each in found if each.name not in NO_SETTINGS]


def _of_stage(declared: Declared) -> Declared:
    """A value for one stage, under the setting's plain name."""
    stage, name = parse_key(declared.name, stage_files())
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


def _value(default: Any) -> str:
    return "none" if default is None else f"`{shown(default)}`".replace("|", "\\|")


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
