"""Lists of models and settings for the terminal."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from recbole_tinynews.recbole_models.unfit import UNFIT
from recbole_tinynews.reference.defaults import (
    Described,
    meaning_of_model,
    meaning_of_recbole_model,
    sections,
    sections_of_all,
)
from recbole_tinynews.registry import MODELS, check_name, recbole_models

NARROWEST, WIDEST = 80, 100  # columns
_NAME, _DEFAULT = 30, 17  # maximum column widths in lists of settings
_KINDS = {
    "general_recommender": "RecBole's models of clicks alone",
    "sequential_recommender": "RecBole's models of click sequences",
    "context_aware_recommender": "RecBole's models of features",
}


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
        groups[texts if model.reads_text else nothing][name] = meaning_of_model(name.lower())
    unfit = []
    for name, file in recbole_models().items():
        kind = _KINDS.get(file.parent.name)
        if kind is None or name in UNFIT:
            unfit.append(name)
        elif name not in MODELS:
            groups.setdefault(kind, {})[name] = meaning_of_recbole_model(file, name)
    width = max(len(name) for group in groups.values() for name in group)
    lines = []
    for title, group in groups.items():
        lines += [title, *(_line(name, meaning, width) for name, meaning in group.items()), ""]
    lines += ["RecBole's models that cannot run on impressions", *_wrapped(", ".join(unfit), 2), ""]
    return "\n".join(
        [*lines, "Settings of a model: --list-settings=MODEL; of all of ours: --list-settings"]
    )


def setting_list(model: str = "") -> str:
    """Settings of a model (``ValueError`` if unknown) or of all of ours, with meanings."""
    if model:
        check_name(model)
    of = f"{model}; about one: --explain SETTING" if model else "news recommenders"
    lines = [f"Settings of {of}", "name, default, (kind) meaning", ""]
    for title, settings in sections(model) if model else sections_of_all():
        if settings:
            lines += [title, *_rows(settings), ""]
    if not model:
        lines.append("Of a model, RecBole's too: --list-settings=MODEL; one: --explain SETTING")
    return "\n".join(lines).rstrip()


def _line(name: str, meaning: str, width: int) -> str:
    room = columns() - width - 4
    return f"  {name:<{width}}  {textwrap.shorten(meaning, room, placeholder=' ...')}".rstrip()


def _rows(settings: Sequence[Described]) -> Iterator[str]:
    names = min(_NAME, max(len(each.name) for each in settings))
    defaults = min(_DEFAULT, max(len(shown(each.default)) for each in settings))
    indent = names + defaults + 6
    for name, default, (kind, text) in settings:
        head = f"  {name:<{names}}  {shown(default):<{defaults}}  "
        meaning = _wrapped(f"({kind}) {text}" if kind else text, indent)
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
