"""For the terminal: lists of models and settings, and the page of a setting."""

from __future__ import annotations

import ast
import re
import shutil
import textwrap
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from recbole_tinynews.recbole_models.unfit import UNFIT
from recbole_tinynews.reference.entries import (
    Entry,
    all_entries,
    effects,
    entries_about,
    every_name,
    meaning_of,
    recbole_entries,
    stage_files,
)
from recbole_tinynews.registry import MODELS, files_of, recbole_models
from recbole_tinynews.settings.layers import METRICS, Settings
from recbole_tinynews.settings.literals import read_yaml
from recbole_tinynews.settings.table import Scope, parse_key, recbole_lists, setting, unread_by
from recbole_tinynews.settings.values import rule_by_default, suggest

NARROWEST, WIDEST = 80, 100  # columns
_NAME, _DEFAULT = 30, 17  # maximum column widths in lists of settings
_KINDS = {
    "general_recommender": "RecBole's models of clicks alone",
    "sequential_recommender": "RecBole's models of click sequences",
    "context_aware_recommender": "RecBole's models of features",
}
RECBOLE = "RecBole"
_MARGIN = 12  # width of the labels


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
    found: dict[str, list[Entry]] = {}
    taken: set[tuple[str | None, str]] = set()
    for entry in reversed(about):
        key = entry.stage, entry.name
        hidden = entry.when or (entry.stage and entry.name == METRICS)
        if entry.name in declared and key not in taken and not hidden:
            taken.add(key)
            kind, meaning = meaning_of(entry.name, [*about, entry])
            found.setdefault(entry.origin, []).insert(0, entry._replace(kind=kind, meaning=meaning))
    names = {name for _, name in taken}
    rest = [Entry(name, declared[name], RECBOLE) for name in sorted(declared) if name not in names]
    return {**found, RECBOLE: [*found.pop(RECBOLE, []), *rest]}


def read_by(model: str) -> dict[str, Any]:
    """Defaults of the settings that the model reads."""
    settings = Settings(files_of(model))
    unread = {*unread_by(settings.kind)}
    if settings.files.is_news and not settings.files.reads_text:
        shared = read_yaml(settings.files.overall)
        unread |= {*recbole_lists()["training_arguments"]} - shared.keys()
    return {name: value for name, value in settings.declared.items() if name not in unread}


def _sections_of_all() -> dict[str, list[Entry]]:
    """Settings of all news recommenders, those that single ones and stages add, RecBole's."""
    found: dict[str, list[Entry]] = {}
    ours, named = [entry for entry in all_entries() if entry.origin != RECBOLE], set[str]()
    for entry in ours:
        if entry.name not in named and not entry.origin.startswith("data set"):
            named.add(entry.name)
            found.setdefault(entry.origin, []).append(entry)
    return {**found, RECBOLE: [e for e in sections("PLMNR")[RECBOLE] if e.name not in named]}


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
