"""Models and settings explained, for the terminal and the site; read from yaml without torch."""

from __future__ import annotations

import ast
import re
import shutil
import textwrap
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from recbole_tinynews.settings.literals import WHEN, packaged_folder, read_yaml
from recbole_tinynews.settings.registry import (
    MODELS,
    UNFIT,
    files_of,
    recbole_models,
    recbole_yaml_folder,
)
from recbole_tinynews.settings.run_settings import PROPERTIES, RunSettings, recbole_overall_files
from recbole_tinynews.settings.table import (
    NAMES,
    Key,
    Models,
    parse_key,
    recbole_lists,
    setting,
    unknown_setting,
    unread_by,
)
from recbole_tinynews.settings.values import rule_by_default, shown

WIDEST = 100  # columns
_MARGIN = 12  # width of the labels of an explanation
EVERY, RECBOLE = "every news recommender", "RecBole"
_SETTING = re.compile(r"(?P<name>[\w-]+):[^#]*(?:#\s*(?:\((?P<kind>[^)]*)\))?\s*(?P<text>.*))?$")
_CONTINUED = re.compile(r"\s+#\s*(?P<text>.*)$")


# What yaml files say


class Entry(NamedTuple):
    """A value of a setting in a yaml file, with what the file says of it."""

    name: str
    value: Any
    origin: str  # for whom the value holds
    kind: str = ""
    meaning: str = ""
    group: str = ""  # the heading above it
    stage: str | None = None


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
    values, comments = read_yaml(file), _comments(file)
    conditions = values.pop(WHEN, {})
    entries = [Entry(name, value, origin, *comments[name]) for name, value in values.items()]
    entries += [
        Entry(name, value, f"{origin} where {condition} is {wanted}")
        for condition, by_value in conditions.items()
        for wanted, under in by_value.items()
        for name, value in under.items()
    ]
    if file in stage_files().values():
        return [entry._replace(stage=file.stem) for entry in entries]
    return [_of_its_stage(entry) for entry in entries]


def _of_its_stage(entry: Entry) -> Entry:
    stage, name = parse_key(entry.name, stage_files())
    origin = f"stage {stage} of {entry.origin}" if stage else entry.origin
    return entry._replace(name=name, stage=stage, origin=origin)


def _comments(file: Path) -> dict[str, tuple[str, str, str]]:
    """Kind, meaning and heading of each setting; a heading is a comment after an empty line."""
    comments: dict[str, tuple[str, str, str]] = {}
    name = group = last = ""  # name: setting of the previous line
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") and not last:
            group = line.removeprefix("#").partition(",")[0].strip().removesuffix(" Settings")
        if declared := _SETTING.match(line):
            name = declared["name"]
            comments[name] = declared["kind"] or "", (declared["text"] or "").strip(), group
        elif name and (more := _CONTINUED.match(line)):
            kind, text, of = comments[name]
            comments[name] = kind, f"{text} {more['text'].strip()}".strip(), of
        else:
            name = ""
        last = line
    return comments


@cache
def all_entries() -> list[Entry]:
    """Entries of every file that declares settings or sets defaults, most general first."""
    properties = packaged_folder(PROPERTIES)
    own = sorted({files_of(name).own[-1] for name in MODELS}, key=lambda file: file.stem)
    origins = {properties / "overall.yaml": EVERY} | {file: file.stem for file in own}
    origins |= {file: f"stage {stage}" for stage, file in stage_files().items()}
    origins[properties / "impressions.yaml"] = "models that train nothing"
    origins[properties / "recbole.yaml"] = "RecBole's models on impressions"
    origins |= dict.fromkeys(recbole_overall_files(), RECBOLE)
    origins |= {file: f"data set {file.stem}" for file in sorted(properties.glob("dataset/*.yaml"))}
    return [entry for file, origin in origins.items() for entry in entries_of(file, origin)]


@cache
def every_entry() -> list[Entry]:
    """Also those of single models of RecBole, last."""
    files = sorted(recbole_yaml_folder().glob("*.yaml"))
    return all_entries() + [entry for file in files for entry in entries_of(file, file.stem)]


@cache
def every_name() -> frozenset[str]:
    """Names of all settings, ours and RecBole's."""
    return NAMES.union(entry.name for entry in every_entry())


def meaning_of(name: str, entries: Iterable[Entry]) -> tuple[str, str]:
    """Kind and meaning by the last entry that says one."""
    said = [(e.kind, e.meaning) for e in entries if e.name == name and e.meaning]
    return said[-1] if said else ("", "")


def effects(name: str) -> Iterator[str]:
    """Where a setting can be set, what depends on it, and who leaves it aside."""
    row = setting(name)
    yield "One value for the whole run." if row.of_run else "A stage may differ."
    yield row.affects.value
    if name in unread_by(Models.NEWS):
        yield "News recommenders don't read it, and say so."


# Pages for the terminal


def model_list() -> str:
    """All models: ours with the first line of each docstring, RecBole's by name."""
    width = max(map(len, MODELS))
    texts, nothing, fit, unfit = list[str](), list[str](), list[str](), list[str]()
    for name, model in MODELS.items():
        tree = ast.parse(model.file.read_text(encoding="utf-8"))
        classes = (node for node in tree.body if isinstance(node, ast.ClassDef))
        docstring = next(ast.get_docstring(node) for node in classes if node.name == name) or ""
        summary, *_ = docstring.replace("``", "`").split("\n")
        of_kind = texts if files_of(name).reads_text else nothing
        of_kind += _wrapped(f"{name:<{width}}  {summary}", 2, width + 4)
    for name, file in recbole_models().items():
        if name not in MODELS:
            runs = name not in UNFIT and not file.parent.name.startswith(("knowledge", "exlib"))
            (fit if runs else unfit).append(name)
    sections = {
        "News recommenders": texts,
        "Without a language model, nothing trains": nothing,
        "RecBole's models": _wrapped(", ".join(fit), 2),
        "RecBole's models that cannot run on impressions": _wrapped(", ".join(unfit), 2),
    }
    lines = [line for title, of_it in sections.items() for line in (title, *of_it, "")]
    return "\n".join(
        [*lines, "Settings of a model: --list-settings=MODEL; one of them: --explain SETTING"]
    )


def setting_list(model: str) -> str:
    """Settings of a model by name, with defaults and meanings; ``ValueError`` if it is unknown."""
    lines = [f"Settings of {model}; about one: --explain SETTING", ""]
    own = [entry for file in files_of(model).own for entry in entries_of(file, model)]
    # those for every model last
    entries = sorted([*reversed(every_entry()), *own], key=lambda entry: entry.origin == EVERY)
    for key, value in sorted(read_by(model).items(), key=lambda item: str(item[0]).lower()):
        of_stage = (entry for entry in entries if entry.stage == key.stage)
        kind, meaning = meaning_of(key.name, [*entries, *of_stage])
        text = f"{key} = {shown(value)}  {f'({kind}) ' if kind else ''}{meaning}"
        lines += _wrapped(text.rstrip(), 2, 6)
    return "\n".join(lines)


def read_by(model: str) -> dict[Key, Any]:
    """Defaults of the settings that the model reads."""
    settings = RunSettings(files_of(model))
    unread = {*unread_by(settings.kind)}
    if settings.files.is_news and not settings.files.reads_text:
        shared = read_yaml(settings.files.overall)
        unread |= {*recbole_lists()["training_arguments"]} - shared.keys()
    return {key: value for key, value in settings.defaults.items() if key.name not in unread}


def _wrapped(text: str, indent: int, further: int | None = None) -> list[str]:
    return textwrap.wrap(
        text,
        min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns),
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent if further is None else further),
        break_on_hyphens=False,
    )


def explanation(name: str) -> str:
    """The help page of a setting; ``ValueError`` with the nearest names if it is unknown."""
    stage, plain = key = parse_key(name, stage_files())
    if mistake := unknown_setting(key, dict.fromkeys(sorted(every_name())), [*stage_files()]):
        raise ValueError(f"{name!r} {mistake} (all: --list-settings)")
    entries = [entry for entry in every_entry() if entry.name == plain]
    kind, meaning = meaning_of(plain, reversed(entries))  # the most general one
    head = f"{name} ({kind})" if kind else name
    lines = [*_wrapped(f"{head}: {meaning or 'not described'}", 0), ""]
    rule = setting(plain).rule or rule_by_default(next((e.value for e in entries), None))
    lines += _part("allowed", [rule.expected if rule else "anything"])
    if stage is not None:  # else it is that of the run
        entries = [e for e in entries if e.stage in (stage, None)]
    lines += _part("default", _by_value(entries))
    return "\n".join(lines + _part("effect", [" ".join(effects(plain))]))


def _by_value(entries: Iterable[Entry]) -> list[str]:
    sources: dict[str, list[str]] = {}
    for entry in entries:
        sources.setdefault(shown(entry.value), []).append(entry.origin)
    return [f"{value}: {', '.join(dict.fromkeys(of))}" for value, of in sources.items()]


def _part(title: str, texts: list[str]) -> list[str]:
    lines = [line for text in texts for line in _wrapped(text, _MARGIN, _MARGIN + 2)]
    return [title.ljust(_MARGIN) + lines[0][_MARGIN:], *lines[1:]] if lines else []
