"""What yaml files say of each setting, ``# (kind) meaning``, read without torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from recbole_tinynews.paths import packaged_folder
from recbole_tinynews.registry import (
    MODELS,
    declared_settings,
    files_of,
    overall_yaml,
    recbole_yaml_folder,
)
from recbole_tinynews.settings.layers import PROPERTIES, WHEN, recbole_overall_files
from recbole_tinynews.settings.literals import read_yaml
from recbole_tinynews.settings.table import (
    NAMES,
    Affects,
    Models,
    Scope,
    parse_key,
    setting,
    unread_by,
)

_SETTING = re.compile(r"(?P<name>[\w-]+):[^#]*(?:#\s*(?:\((?P<kind>[^)]*)\))?\s*(?P<text>.*))?$")
_CONTINUED = re.compile(r"\s+#\s*(?P<text>.*)$")
EVERY = "every news recommender"
AFFECTS = {
    Affects.RESULT: "Another value retrains what reads it.",
    Affects.STUDENTS: "Another value retrains the stages that have teachers.",
    Affects.STAGES: "It decides which stages there are.",
    Affects.NOTHING: "It changes no result: finished stages are reused.",
}


class Entry(NamedTuple):
    """A value of a setting in a yaml file, with what the file says of it."""

    name: str
    value: Any
    origin: str  # for whom the file has values
    kind: str = ""
    meaning: str = ""
    group: str = ""  # the heading above it
    stage: str | None = None
    when: str = ""  # the condition under which the value holds

    @property
    def source(self) -> str:
        """For whom the value holds."""
        of_stage = f"stage {self.stage}"
        own = self.stage is None or self.origin == of_stage
        source = self.origin if own else f"{of_stage} of {self.origin}"
        return f"{source} where {self.when}" if self.when else source


@cache
def stage_files() -> dict[str, Path]:
    """The yaml file of each stage, by name."""
    return dict(files_of("PLMNR").stages)


@cache
def entries_of(file: Path, origin: str) -> list[Entry]:
    r"""Every setting of a yaml file, those under a condition at the end.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "some.yaml")
    ...     _ = file.write_text("epochs: 4  # (int) Passes\n           #  over the clicks.\n")
    ...     [(entry.kind, entry.meaning) for entry in entries_of(file, "NRMS")]
    [('int', 'Passes over the clicks.')]
    """
    values, said = read_yaml(file), _comments(file)
    conditions = values.pop(WHEN, {})
    found = [Entry(name, value, origin, *said[name]) for name, value in values.items()]
    found += [
        Entry(name, value, origin, when=f"{condition} is {wanted}")
        for condition, by_value in conditions.items()
        for wanted, under in by_value.items()
        for name, value in under.items()
    ]
    if file in stage_files().values():
        return [entry._replace(stage=file.stem) for entry in found]
    keys = [parse_key(entry.name, stage_files()) for entry in found]
    return [
        entry._replace(stage=stage, name=name)
        for entry, (stage, name) in zip(found, keys, strict=True)
    ]


def _comments(file: Path) -> dict[str, tuple[str, str, str]]:
    """Kind, meaning and heading of each setting; a heading is a comment after an empty line."""
    found: dict[str, tuple[str, str, str]] = {}
    name = group = last = ""  # name: setting of the previous line
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") and not last:
            group = line.removeprefix("#").partition(",")[0].strip().removesuffix(" Settings")
        if declared := _SETTING.match(line):
            name = declared["name"]
            found[name] = declared["kind"] or "", (declared["text"] or "").strip(), group
        elif name and (more := _CONTINUED.match(line)):
            kind, text, of = found[name]
            found[name] = kind, f"{text} {more['text'].strip()}".strip(), of
        else:
            name = ""
        last = line
    return found


def entries_about(model: str) -> list[Entry]:
    """Entries of all files that declare a model's settings, weakest first."""
    files = files_of(model)
    found = [entry for file in recbole_overall_files() for entry in entries_of(file, "RecBole")]
    found += entries_of(files.overall, overall_name(files.overall))
    for stage, file in files.stages.items():
        found += entries_of(file, f"stage {stage}")
    return found + [entry for file in files.own for entry in entries_of(file, file.stem)]


def overall_name(file: Path) -> str:
    """For whom the values of one of our files for all models of a kind hold."""
    kinds = {"overall": EVERY, "impressions": "models that train nothing"}
    return kinds.get(file.stem, "RecBole's models on impressions")


@cache
def all_entries() -> list[Entry]:
    """Entries of every file that declares settings or sets defaults, most general first."""
    found = entries_of(overall_yaml("overall"), EVERY).copy()
    for file in sorted({files_of(name).own[-1] for name in MODELS}, key=lambda file: file.stem):
        found += entries_of(file, file.stem)
    for stage, file in stage_files().items():
        found += entries_of(file, f"stage {stage}")
    for kind in ("impressions", "recbole"):
        found += entries_of(overall_yaml(kind), overall_name(overall_yaml(kind)))
    for file in recbole_overall_files():
        found += entries_of(file, "RecBole")
    for file in sorted((packaged_folder(PROPERTIES) / "dataset").glob("*.yaml")):
        found += entries_of(file, f"data set {file.stem}")
    return found


@cache
def recbole_entries() -> list[Entry]:
    """Values that RecBole has for single ones of its models."""
    files = sorted(recbole_yaml_folder().glob("*.yaml"))
    return [entry for file in files for entry in entries_of(file, file.stem)]


@cache
def every_name() -> frozenset[str]:
    """Names of all settings, ours and RecBole's."""
    named = {entry.name for entry in (*all_entries(), *recbole_entries())}
    return frozenset(named | NAMES | declared_settings("BPR").keys())


def meaning_of(name: str, entries: Iterable[Entry]) -> tuple[str, str]:
    """Kind and meaning by the last entry that says one."""
    said = [(e.kind, e.meaning) for e in entries if e.name == name and e.meaning]
    return said[-1] if said else ("", "")


def effects(name: str) -> Iterator[str]:
    """Where a setting can be set, what depends on it, and who leaves it aside."""
    row = setting(name)
    yield "One value for the whole run." if row.scope is Scope.RUN else "A stage may differ."
    yield AFFECTS[row.affects]
    if name in unread_by(Models.NEWS):
        yield "News recommenders don't read it, and say so."
