"""Models and settings explained, for the terminal and the site; read from yaml without torch."""

from __future__ import annotations

import ast
import re
import shutil
import textwrap
import warnings
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from recbole_tinynews.files.installation import packaged_folder
from recbole_tinynews.settings.layers import METRICS, PROPERTIES, RunSettings, recbole_overall_files
from recbole_tinynews.settings.literals import WHEN, read_yaml
from recbole_tinynews.settings.registry import (
    MODELS,
    UNFIT,
    declared_settings,
    files_of,
    overall_yaml,
    recbole_models,
    recbole_yaml_folder,
)
from recbole_tinynews.settings.table import (
    NAMES,
    Affects,
    Models,
    Scope,
    parse_key,
    recbole_lists,
    setting,
    unread_by,
)
from recbole_tinynews.settings.values import rule_by_default, suggest

NARROWEST, WIDEST = 80, 100  # columns
_NAME, _DEFAULT = 30, 17  # maximum column widths in lists of settings
_MARGIN = 12  # width of the labels of an explanation
EVERY, RECBOLE = "every news recommender", "RecBole"
_ORIGINS = {  # of the yaml files for all models of a kind
    "overall": EVERY,
    "impressions": "models that train nothing",
    "recbole": "RecBole's models on impressions",
}
_KINDS = {
    "general_recommender": "RecBole's models of clicks alone",
    "sequential_recommender": "RecBole's models of click sequences",
    "context_aware_recommender": "RecBole's models of features",
}
_EFFECTS = {
    Affects.RESULT: "Another value retrains what reads it.",
    Affects.STUDENTS: "Another value retrains the stages that have teachers.",
    Affects.STAGES: "It decides which stages there are.",
    Affects.NOTHING: "It changes no result: finished stages are reused.",
}
_SETTING = re.compile(r"(?P<name>[\w-]+):[^#]*(?:#\s*(?:\((?P<kind>[^)]*)\))?\s*(?P<text>.*))?$")
_CONTINUED = re.compile(r"\s+#\s*(?P<text>.*)$")


# What yaml files say


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
        is_own = self.stage is None or self.origin == of_stage
        source = self.origin if is_own else f"{of_stage} of {self.origin}"
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
    values, comments = read_yaml(file), _comments(file)
    conditions = values.pop(WHEN, {})
    entries = [Entry(name, value, origin, *comments[name]) for name, value in values.items()]
    entries += [
        Entry(name, value, origin, when=f"{condition} is {wanted}")
        for condition, by_value in conditions.items()
        for wanted, under in by_value.items()
        for name, value in under.items()
    ]
    if file in stage_files().values():
        return [entry._replace(stage=file.stem) for entry in entries]
    return [entry._replace(**parse_key(entry.name, stage_files())._asdict()) for entry in entries]


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


def entries_about(model: str) -> list[Entry]:
    """Entries of all files that declare a model's settings, weakest first."""
    files = files_of(model)
    origins = dict.fromkeys(recbole_overall_files(), RECBOLE)
    origins |= {files.overall: _ORIGINS[files.overall.stem]}
    origins |= {file: f"stage {stage}" for stage, file in files.stages.items()}
    return _read(origins | {file: file.stem for file in files.own})


@cache
def all_entries() -> list[Entry]:
    """Entries of every file that declares settings or sets defaults, most general first."""
    own = sorted({files_of(name).own[-1] for name in MODELS}, key=lambda file: file.stem)
    origins = {overall_yaml("overall"): EVERY} | {file: file.stem for file in own}
    origins |= {file: f"stage {stage}" for stage, file in stage_files().items()}
    origins |= {overall_yaml(kind): _ORIGINS[kind] for kind in ("impressions", "recbole")}
    origins |= dict.fromkeys(recbole_overall_files(), RECBOLE)
    of_data = sorted((packaged_folder(PROPERTIES) / "dataset").glob("*.yaml"))
    origins |= {file: f"data set {file.stem}" for file in of_data}
    return _read(origins)


def _read(origins: dict[Path, str]) -> list[Entry]:
    return [entry for file, origin in origins.items() for entry in entries_of(file, origin)]


@cache
def recbole_entries() -> list[Entry]:
    """Values that RecBole has for single ones of its models."""
    return _read({file: file.stem for file in sorted(recbole_yaml_folder().glob("*.yaml"))})


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
    yield _EFFECTS[row.affects]
    if name in unread_by(Models.NEWS):
        yield "News recommenders don't read it, and say so."


# Pages for the terminal


def columns() -> int:
    """Page width: the terminal's, from 80 to 100 columns."""
    return min(WIDEST, max(NARROWEST, shutil.get_terminal_size((WIDEST, 24)).columns))


def shown(value: Any) -> str:
    """A value as yaml."""
    if value is None:
        return "~"
    return '""' if value == "" else str(value)


def model_list() -> str:
    """All models, with one line from each docstring."""
    texts, nothing = "News recommenders", "Without a language model, nothing trains"
    groups: dict[str, dict[str, str]] = {texts: {}, nothing: {}}
    for name, model in MODELS.items():
        docstring = ast.get_docstring(_parse(model.file)) or ""
        groups[texts if model.reads_text else nothing][name] = _first_sentence(docstring)
    unfit = []
    for name, file in recbole_models().items():
        kind = _KINDS.get(file.parent.name)
        if kind is None or name in UNFIT:
            unfit.append(name)
        elif name not in MODELS:
            groups.setdefault(kind, {})[name] = _meaning_of_recbole_model(file, name)
    width = max(len(name) for group in groups.values() for name in group)
    lines = []
    for title, group in groups.items():
        lines += [title, *(_line(name, meaning, width) for name, meaning in group.items()), ""]
    lines += ["RecBole's models that cannot run on impressions", *_wrapped(", ".join(unfit), 2), ""]
    return "\n".join(
        [*lines, "Settings of a model: --list-settings=MODEL; of all of ours: --list-settings"]
    )


def _meaning_of_recbole_model(file: Path, name: str) -> str:
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


def setting_list(model: str = "") -> str:
    """Settings of a model (``ValueError`` if unknown) or of all of ours, with meanings."""
    of = f"{model}; about one: --explain SETTING" if model else "news recommenders"
    lines = [f"Settings of {of}", "name, default, (kind) meaning", ""]
    for title, entries in (sections(model) if model else _sections_of_all()).items():
        if entries:
            lines += [title[0].upper() + title[1:], *_rows(entries), ""]
    if not model:
        lines.append("Of a model, RecBole's too: --list-settings=MODEL; one: --explain SETTING")
    return "\n".join(lines).rstrip()


def sections(model: str) -> dict[str, list[Entry]]:
    """Settings of a model: its own, its bases', those of stages, its kind's, RecBole's."""
    declared, about = read_by(model), entries_about(model)
    strongest: dict[tuple[str | None, str], Entry] = {}
    for entry in reversed(about):
        hidden = entry.when or (entry.stage and entry.name == METRICS)
        if entry.name in declared and not hidden:
            strongest.setdefault((entry.stage, entry.name), entry)
    by_origin: dict[str, list[Entry]] = {}
    for entry in strongest.values():
        kind, meaning = meaning_of(entry.name, [*about, entry])
        described = entry._replace(kind=kind, meaning=meaning)
        by_origin.setdefault(entry.origin, []).insert(0, described)
    names = {name for _, name in strongest}
    rest = [Entry(name, declared[name], RECBOLE) for name in sorted(declared) if name not in names]
    return {**by_origin, RECBOLE: [*by_origin.pop(RECBOLE, []), *rest]}


def read_by(model: str) -> dict[str, Any]:
    """Defaults of the settings that the model reads."""
    settings = RunSettings(files_of(model))
    unread = {*unread_by(settings.kind)}
    if settings.files.is_news and not settings.files.reads_text:
        shared = read_yaml(settings.files.overall)
        unread |= {*recbole_lists()["training_arguments"]} - shared.keys()
    return {name: value for name, value in settings.declared.items() if name not in unread}


def _sections_of_all() -> dict[str, list[Entry]]:
    """Settings of all news recommenders, those that single ones and stages add, RecBole's."""
    first: dict[str, Entry] = {}
    for entry in all_entries():
        if entry.origin != RECBOLE and not entry.origin.startswith("data set"):
            first.setdefault(entry.name, entry)
    by_origin: dict[str, list[Entry]] = {}
    for entry in first.values():
        by_origin.setdefault(entry.origin, []).append(entry)
    return {**by_origin, RECBOLE: [e for e in sections("PLMNR")[RECBOLE] if e.name not in first]}


def _line(name: str, meaning: str, width: int) -> str:
    room = columns() - width - 4
    return f"  {name:<{width}}  {textwrap.shorten(meaning, room, placeholder=' ...')}".rstrip()


def _rows(entries: list[Entry]) -> Iterator[str]:
    # within a stage's section names are plain
    written = [
        entry.name if entry.source == entry.origin else f"{entry.stage}_{entry.name}"
        for entry in entries
    ]
    names = min(_NAME, max(map(len, written)))
    defaults = min(_DEFAULT, max(len(shown(entry.value)) for entry in entries))
    indent = names + defaults + 6
    for name, entry in zip(written, entries, strict=True):
        head = f"  {name:<{names}}  {shown(entry.value):<{defaults}}  "
        kind = f"({entry.kind}) " if entry.kind else ""
        meaning = _wrapped(kind + entry.meaning, indent)
        if len(head) > indent:  # too long: a line of its own
            yield from _wrapped(head.strip(), 2, 4)
        else:
            yield (head + (meaning.pop(0).strip() if meaning else "")).rstrip()
        yield from meaning


def _wrapped(text: str, indent: int, further: int | None = None) -> list[str]:
    return textwrap.wrap(
        text,
        columns(),
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent if further is None else further),
        break_on_hyphens=False,
    )


def explanation(name: str) -> str:
    """The help page of a setting; ``ValueError`` with the nearest names if it is unknown."""
    stage, plain = _parsed(name)
    entries = [e for e in (*all_entries(), *recbole_entries()) if e.name == plain]
    kind, meaning = meaning_of(plain, reversed(entries))  # the most general one
    head = f"{name} ({kind})" if kind else name
    lines = [*textwrap.wrap(f"{head}: {meaning or 'not described'}", columns()), ""]
    rule = setting(plain).rule or rule_by_default(next((e.value for e in entries), None))
    lines += _part("allowed", [rule.expected if rule else "anything"])
    if stage is None:
        lines += _part("default", _by_value(entries))
    else:  # falls back to the plain setting
        lines += _part("default", _by_value(e for e in entries if e.stage == stage))
        lines += _part("or as", _by_value(e for e in entries if e.stage is None))
    return "\n".join(lines + _part("effect", [" ".join(effects(plain))]))


def _parsed(name: str) -> tuple[str | None, str]:
    names = every_name()
    stage, plain = (None, name) if name in names else parse_key(name, stage_files())
    if plain not in names:
        of_stage = [each for each in names if setting(each).scope is Scope.STAGE]
        of_stages = [f"{each}_{n}" for each in stage_files() for n in of_stage]
        hint = suggest(name, sorted([*names, *of_stages]))
        raise ValueError(f"No setting is named {name!r}.{hint} All: --list-settings")
    if stage and setting(plain).scope is Scope.RUN:
        raise ValueError(f"{plain} holds for the whole run, not for a stage. See --explain {plain}")
    return stage, plain


def _by_value(entries: Iterable[Entry]) -> list[str]:
    sources: dict[str, list[str]] = {}
    for entry in entries:
        sources.setdefault(shown(entry.value), []).append(entry.source)
    return [f"{value}: {', '.join(dict.fromkeys(of))}" for value, of in sources.items()]


def _part(title: str, texts: list[str]) -> list[str]:
    lines = [line for text in texts for line in _wrapped(text, _MARGIN, _MARGIN + 2)]
    return [title.ljust(_MARGIN) + lines[0][_MARGIN:], *lines[1:]] if lines else []
