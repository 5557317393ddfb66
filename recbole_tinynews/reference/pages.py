"""For the terminal: lists of models and settings, and the page of a setting."""

from __future__ import annotations

import shlex
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from recbole_tinynews.recbole_models.unfit import UNFIT
from recbole_tinynews.reference.defaults import (
    Described,
    defaults_of,
    every_setting,
    files_about,
    meaning_of,
    meaning_of_model,
    meaning_of_recbole_model,
    news_yaml,
    of_data_sets,
    recbole_values,
    sections,
    sections_of_all,
    stage_files,
    stages_declaring,
)
from recbole_tinynews.registry import MODELS, check_name, recbole_models
from recbole_tinynews.settings.declared import Affects, Scope, setting
from recbole_tinynews.settings.literals import write_yaml
from recbole_tinynews.settings.names import (
    Key,
    parse_key,
    recbole_model_settings,
    recbole_overall_settings,
)
from recbole_tinynews.settings.values import Rule, rule_by_default, suggest

NARROWEST, WIDEST = 80, 100  # columns
_NAME, _DEFAULT = 30, 17  # maximum column widths in lists of settings
_KINDS = {
    "general_recommender": "RecBole's models of clicks alone",
    "sequential_recommender": "RecBole's models of click sequences",
    "context_aware_recommender": "RecBole's models of features",
}
_MARGIN = 12  # width of the labels
_RETRAINED = {
    Affects.RESULT: "every stage that reads it",
    Affects.STUDENTS: "only stages with teachers",
    Affects.STAGES: "nothing: it chooses the stages of a system",
    Affects.NOTHING: "nothing",
}
_RECBOLE = "RecBole"
_TEXT_MODELS = [name for name, model in MODELS.items() if model.reads_text]


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
        groups[texts if model.reads_text else nothing][name] = meaning_of_model(model.file)
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


class Query(NamedTuple):
    """A setting by its plain name, for a stage or (None) the whole run."""

    stage: str | None
    name: str
    models: list[str]

    @property
    def ours(self) -> list[str]:
        """Its models, without RecBole's."""
        return [model for model in self.models if model in MODELS]


def explanation(name: str) -> str:
    """The help page of a setting; ``ValueError`` with the nearest names if it is unknown."""
    query = _parsed(name)
    # BPR's files describe RecBole's settings
    known_as = ["BPR" if model == _RECBOLE else model for model in reversed(query.models)]
    of_stage = [stage_files()[query.stage]] if query.stage else []
    files = [file for model in known_as for file in files_about(model)]
    meaning = meaning_of(query.name, [*files, *of_stage])
    default = _default(query)
    rule = setting(query.name).rule or rule_by_default(default)
    kind = f" ({meaning.kind})" if meaning.kind else ""
    lines = [*textwrap.wrap(f"{name}{kind}: {meaning.text or 'not described'}", columns()), ""]
    lines += _part("allowed", [rule.expected if rule else "anything"])
    if query.stage is None:
        lines += _part("default", _defaults(query)) + _part("in stages", _of_stages(query))
    else:  # falls back to the plain setting
        lines += _part("default", _of_stages(query)) + _part("or as", _defaults(query))
    lines += _part("data sets", [f"{shown(v)}: {where}" for where, v in of_data_sets(name)])
    lines += _part("read by", [_readers(query)])
    lines += _part("retrains", [_RETRAINED[setting(query.name).affects]])
    of_models = [news_yaml(model).values for model in query.ours]
    keys = [Key(stage, query.name) for stage in stage_files()]
    preferred = [values[key] for values in of_models for key in keys if key in values]
    preferred += [value for _, value in of_data_sets(name)]
    lines += _part("example", [_example(name, query, example_value(default, rule, preferred))])
    return "\n".join(lines)


def _parsed(name: str) -> Query:
    known = every_setting()
    stage, plain = parse_key(name, stage_files())
    if name in known:
        return Query(None, name, known[name])
    if stage is None or plain not in known:
        of_stages = [
            f"{each}_{n}" for each in stage_files() for n in known if each == stage or stage is None
        ]
        hint = suggest(name, [*known, *of_stages])
        raise ValueError(f"No setting is named {name!r}.{hint} All: --list-settings")
    if setting(plain).scope is Scope.RUN:
        raise ValueError(f"{plain} holds for the whole run, not for a stage. See --explain {plain}")
    return Query(stage, plain, known[plain])


def _default(query: Query) -> Any:
    if query.models == [_RECBOLE]:
        values = [v for v in recbole_values(query.name).values() if v is not None]
        return values[0] if values else defaults_of("BPR").get(query.name)
    values = [defaults_of(model)[query.name] for model in query.ours]
    return next((value for value in values if value is not None), None)


def _defaults(query: Query) -> list[str]:
    by_value: dict[str, list[str]] = {}
    found = [(model, defaults_of(model)[query.name]) for model in query.ours]
    found += recbole_values(query.name).items()
    general = {**recbole_overall_settings(), **recbole_model_settings(), **defaults_of("BPR")}
    if _RECBOLE in query.models and query.name in general:
        found.append(("RecBole's other models", general[query.name]))
    for model, value in found:
        by_value.setdefault(shown(value), []).append(model)
    return [f"{value}: {_names(models, query.ours)}" for value, models in by_value.items()]


def _names(models: list[str], ours: list[str]) -> str:
    if len(ours) > 1 and set(ours) <= set(models):
        others = [model for model in models if model not in ours]
        if len(ours) == len(MODELS):
            return ", ".join(["all of ours", *others])
        if set(ours) == set(_TEXT_MODELS):
            return ", ".join(["all of ours with a language model", *others])
    return ", ".join(models)


def _of_stages(query: Query) -> list[str]:
    by_value: dict[tuple[str, str], list[str]] = {}
    for model in query.ours:
        yaml = news_yaml(model)
        for stage, (_, _, with_words) in yaml.stages.items():
            if query.stage not in (None, stage):
                continue
            if (key := Key(stage, query.name)) in yaml.values:
                by_value.setdefault((shown(yaml.values[key]), stage), []).append(model)
            if query.name in with_words:
                who = f"{stage} by word vectors"
                by_value.setdefault((shown(with_words[query.name]), who), []).append(model)
    every = len(_TEXT_MODELS)
    return [
        f"{value}: {stage}" + ("" if len(models) == every else f" of {', '.join(models)}")
        for (value, stage), models in by_value.items()
    ]


def _readers(query: Query) -> str:
    if query.stage:
        return f"only {query.stage}, in place of {query.name}"
    read_text = [model for model in query.ours if model in _TEXT_MODELS]
    if setting(query.name).scope is Scope.RUN or not read_text:
        return "the run as a whole: no stage has a value of its own"
    if stages := stages_declaring(query.name):
        return f"{' and '.join(stages)}; for one of them: --{stages[0]}_{query.name}=..."
    every = read_text == _TEXT_MODELS
    which = "every stage that uses it" if every else "the stages of these models that use it"
    other = "finetune_teacher" if every else "post_train_student"
    return f"{which}; for one alone: --{other}_{query.name}=..."


def _example(name: str, query: Query, value: Any) -> str:
    if query.ours:
        model = "TinyNewsRec" if "TinyNewsRec" in query.ours else query.ours[0]
    else:
        model = next(iter(recbole_values(query.name)), "BPR")
    return f"python run_recbole.py --model={model} {shlex.quote(f'--{name}={as_yaml(value)}')}"


def _part(title: str, texts: list[str]) -> list[str]:
    lines = [line for text in texts for line in _wrapped(text, _MARGIN, _MARGIN + 2)]
    return [title.ljust(_MARGIN) + lines[0][_MARGIN:], *lines[1:]] if lines else []


def as_yaml(value: Any) -> str:
    """A value as written on the command line."""
    text = write_yaml(value, default_flow_style=True, width=1000)
    return text.removesuffix("\n").removesuffix("\n...")


def example_value(default: Any, rule: Rule | None, preferred: Iterable[Any] = ()) -> Any:
    """A value that the rule (None: any) allows, if possible ``preferred`` and not the default."""
    if rule is None:
        return default
    candidates = (*preferred, *_candidates(default, rule.choices))
    allowed = [value for value in candidates if rule.holds(value)]
    other = [value for value in allowed if value != default or type(value) is not type(default)]
    return next(iter([*other, *allowed]), default)


def _candidates(default: Any, choices: Iterable[Any]) -> Iterator[Any]:
    yield from (choice for choice in choices if choice is not None)
    if isinstance(default, bool):
        yield not default
    elif isinstance(default, (int, float)):
        yield from (default * 2, default + 1, default / 2)
    elif isinstance(default, list):
        yield default[:1]
    yield from (2, 0.5, True, "name", "folder/file", "file.zip", {"max_norm": 1.0})
    yield from (default, [5], {"mode": "labeled"})
