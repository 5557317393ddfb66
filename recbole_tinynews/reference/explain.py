"""The help page of a setting: meaning, defaults, allowed values, readers and an example."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from recbole_tinynews.reference.defaults import (
    defaults_of,
    every_setting,
    files_about,
    meaning_of,
    news_yaml,
    of_data_sets,
    recbole_values,
    stage_files,
    stages_declaring,
)
from recbole_tinynews.reference.pages import columns, shown
from recbole_tinynews.registry import MODELS
from recbole_tinynews.settings.declared import Affects, Scope, setting
from recbole_tinynews.settings.literals import write_yaml
from recbole_tinynews.settings.names import (
    Key,
    parse_key,
    recbole_model_settings,
    recbole_overall_settings,
)
from recbole_tinynews.settings.values import Rule, rule_by_default, suggest

_MARGIN = 12  # width of the labels
_RETRAINED = {
    Affects.RESULT: "every stage that reads it",
    Affects.STUDENTS: "stages with teachers alone",
    Affects.STAGES: "nothing: it chooses the stages of a system",
    Affects.NOTHING: "nothing",
}
_RECBOLE = "RecBole"
_TEXT_MODELS = [name for name, model in MODELS.items() if model.reads_text]


class Asked(NamedTuple):
    """A setting by its plain name, for a stage or (None) the whole run."""

    stage: str | None
    name: str
    models: list[str]

    @property
    def ours(self) -> list[str]:
        """Those of its models that aren't RecBole's."""
        return [model for model in self.models if model in MODELS]


def explanation(name: str) -> str:
    """The help page of a setting; ``ValueError`` with the nearest names if it is unknown."""
    asked = _asked(name)
    # BPR's files describe RecBole's settings
    known_as = ["BPR" if model == _RECBOLE else model for model in reversed(asked.models)]
    of_stage = [stage_files()[asked.stage]] if asked.stage else []
    files = [file for model in known_as for file in files_about(model)]
    meaning = meaning_of(asked.name, [*files, *of_stage])
    default = _default(asked)
    rule = setting(asked.name).rule or rule_by_default(default)
    kind = f" ({meaning.kind})" if meaning.kind else ""
    lines = [*textwrap.wrap(f"{name}{kind}: {meaning.text or 'not described'}", columns()), ""]
    lines += _part("allowed", [rule.expected if rule else "anything"])
    if asked.stage is None:
        lines += _part("default", _defaults(asked)) + _part("in stages", _of_stages(asked))
    else:  # falls back to the plain setting
        lines += _part("default", _of_stages(asked)) + _part("or as", _defaults(asked))
    lines += _part("data sets", [f"{shown(v)}: {where}" for where, v in of_data_sets(name)])
    lines += _part("read by", [_readers(asked)])
    lines += _part("retrains", [_RETRAINED[setting(asked.name).affects]])
    of_models = [news_yaml(model).values for model in asked.ours]
    keys = [Key(stage, asked.name) for stage in stage_files()]
    preferred = [values[key] for values in of_models for key in keys if key in values]
    preferred += [value for _, value in of_data_sets(name)]
    lines += _part("example", [_example(name, asked, example_value(default, rule, preferred))])
    return "\n".join(lines)


def _asked(name: str) -> Asked:
    known = every_setting()
    stage, plain = parse_key(name, stage_files())
    if name in known:
        return Asked(None, name, known[name])
    if stage is None or plain not in known:
        of_stages = [
            f"{each}_{n}" for each in stage_files() for n in known if each == stage or stage is None
        ]
        hint = suggest(name, [*known, *of_stages])
        raise ValueError(f"No setting is named {name!r}.{hint} All: --list-settings")
    if setting(plain).scope is Scope.RUN:
        raise ValueError(f"{plain} holds for the whole run, not for a stage. See --explain {plain}")
    return Asked(stage, plain, known[plain])


def _default(asked: Asked) -> Any:
    if asked.models == [_RECBOLE]:
        values = [v for v in recbole_values(asked.name).values() if v is not None]
        return values[0] if values else defaults_of("BPR").get(asked.name)
    values = [defaults_of(model)[asked.name] for model in asked.ours]
    return next((value for value in values if value is not None), None)


def _defaults(asked: Asked) -> list[str]:
    by_value: dict[str, list[str]] = {}
    found = [(model, defaults_of(model)[asked.name]) for model in asked.ours]
    found += recbole_values(asked.name).items()
    general = {**recbole_overall_settings(), **recbole_model_settings(), **defaults_of("BPR")}
    if _RECBOLE in asked.models and asked.name in general:
        found.append(("RecBole's other models", general[asked.name]))
    for model, value in found:
        by_value.setdefault(shown(value), []).append(model)
    return [f"{value}: {_names(models, asked.ours)}" for value, models in by_value.items()]


def _names(models: list[str], ours: list[str]) -> str:
    if len(ours) > 1 and set(ours) <= set(models):
        others = [model for model in models if model not in ours]
        if len(ours) == len(MODELS):
            return ", ".join(["all of ours", *others])
        if set(ours) == set(_TEXT_MODELS):
            return ", ".join(["all of ours with a language model", *others])
    return ", ".join(models)


def _of_stages(asked: Asked) -> list[str]:
    by_value: dict[tuple[str, str], list[str]] = {}
    for model in asked.ours:
        yaml = news_yaml(model)
        for stage, (_, _, with_words) in yaml.stages.items():
            if asked.stage not in (None, stage):
                continue
            if (key := Key(stage, asked.name)) in yaml.values:
                by_value.setdefault((shown(yaml.values[key]), stage), []).append(model)
            if asked.name in with_words:
                who = f"{stage} by word vectors"
                by_value.setdefault((shown(with_words[asked.name]), who), []).append(model)
    every = len(_TEXT_MODELS)
    return [
        f"{value}: {stage}" + ("" if len(models) == every else f" of {', '.join(models)}")
        for (value, stage), models in by_value.items()
    ]


def _readers(asked: Asked) -> str:
    if asked.stage:
        return f"{asked.stage} alone, in place of {asked.name}"
    read_text = [model for model in asked.ours if model in _TEXT_MODELS]
    if setting(asked.name).scope is Scope.RUN or not read_text:
        return "the run as a whole: no stage has a value of its own"
    if stages := stages_declaring(asked.name):
        return f"{' and '.join(stages)}; for one of them: --{stages[0]}_{asked.name}=..."
    every = read_text == _TEXT_MODELS
    which = "every stage that uses it" if every else "the stages of these models that use it"
    other = "finetune_teacher" if every else "post_train_student"
    return f"{which}; for one alone: --{other}_{asked.name}=..."


def _example(name: str, asked: Asked, value: Any) -> str:
    if asked.ours:
        model = "TinyNewsRec" if "TinyNewsRec" in asked.ours else asked.ours[0]
    else:
        model = next(iter(recbole_values(asked.name)), "BPR")
    return f"python run_recbole.py --model={model} {shlex.quote(f'--{name}={as_yaml(value)}')}"


def _part(title: str, texts: list[str]) -> list[str]:
    wrapper = textwrap.TextWrapper(
        columns() - _MARGIN, subsequent_indent="  ", break_on_hyphens=False
    )
    lines = [line for text in texts for line in wrapper.wrap(text)]
    return [f"{title if number == 0 else '':<{_MARGIN}}{line}" for number, line in enumerate(lines)]


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
