"""Finds all mistakes in the settings of a run, to report them at once."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from recbole_tinynews.settings.layers import Layer
from recbole_tinynews.settings.names import plain_name, unknown_setting
from recbole_tinynews.settings.values import FIELD, Rule, unfit_value

# The entries of these settings that RecBole reads; it silently ignores a misspelt one.
_FIELDS = ("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD", "LABEL_FIELD", "ITEM_LIST_LENGTH_FIELD")
_ENTRIES = {
    "eval_args": ("split", "group_by", "order", "mode"),
    "train_neg_sample_args": ("distribution", "sample_num", "alpha", "dynamic", "candidate_num"),
}


def name_mistakes(
    layers: Iterable[Layer], declared: Mapping[str, Any], stages: Collection[str]
) -> Iterator[str]:
    """Settings that are not declared, with the nearest declared name."""
    for source, values in layers:
        for name, value in values.items():
            mistake = unknown_setting(name, declared, stages)
            if mistake:
                yield f"{name} ({source}) {mistake}"
            for entry in value if name in _ENTRIES and isinstance(value, Mapping) else ():
                if entry not in _ENTRIES[name]:
                    known = ", ".join(_ENTRIES[name])
                    yield f"{name} ({source}) has no entry {entry!r}: write some of {known}"


def switch_mistakes(
    switches: Iterable[str], declared: Mapping[str, Any], stages: Collection[str]
) -> Iterator[str]:
    """Flags without a value whose setting is not a switch."""
    for name in switches:
        plain = plain_name(name, declared, stages)
        if plain in declared and not isinstance(declared[plain], bool):
            yield f"--{name} (command line) needs a value: write --{name}=value"


def value_mistakes(
    final: Mapping[str, Any],
    layers: Iterable[Layer],
    defaults: Mapping[str, Any],
    rules: Mapping[str, Rule],
    stages: Collection[str],
) -> Iterator[str]:
    """Settings with invalid values, and where these come from."""
    sources = {name: layer.source for layer in layers for name in layer.values}
    for name, value in final.items():
        if isinstance(value, str) and value == "None" and name in sources:
            yield f"{name} ({sources[name]}) got the text 'None': write ~ or null for no value"
            continue
        plain = plain_name(name, defaults, stages)
        mistake = unfit_value(plain, value, rules, defaults.get(plain))
        if mistake:
            yield f"{name} ({sources.get(name, 'default')}) {mistake}"


def process_mistakes(
    final: Mapping[str, Any], model: str, processes: int, shares_work: bool
) -> Iterator[str]:
    """Requests for several processes that cannot be met.

    Args:
        final: all settings.
        model: its name.
        processes: how many torchrun has started.
        shares_work: whether the model can be trained by several.
    """
    one = {"nproc": (None, 1), "world_size": (None, -1, 0, 1), "local_rank": (None, 0)}
    several = [f"{name}={final[name]}" for name in one if final.get(name) not in one[name]]
    if several:
        yield (
            f"{', '.join(several)}: settings start no process. Start several by run_recbole.py "
            "--nproc=N, or by torchrun --nproc_per_node=N run_recbole.py"
        )
    if processes > 1 and not shares_work:
        yield one_process_alone(model)


def one_process_alone(model: str) -> str:
    """That the model of this name cannot be trained by several processes."""
    return (
        f"{model} has no language model to share out and is trained by one process, got several. "
        "Start it without torchrun and --nproc"
    )


def field_mistakes(final: Mapping[str, Any], taken: Collection[str]) -> Iterator[str]:
    """Fields of a batch that would have the name of another one, whose values would be lost.

    Args:
        final: the settings of the run.
        taken: names that no setting changes.
    """
    named = {name: final.get(name) for name in _FIELDS}
    if not all(map(FIELD.holds, named.values())):
        return  # the rule of the setting says so
    seen = dict.fromkeys(taken, "a column of the data")
    for name, field in named.items():
        if field in seen:
            yield f"{name} expects a name of its own, got {field}, which is {seen[field]}"
        seen.setdefault(str(field), name)


def package_mistakes(final: Mapping[str, Any]) -> Iterator[str]:
    """Switches for which a package is missing."""
    if final.get("log_wandb") is True and importlib.util.find_spec("wandb") is None:
        yield "log_wandb expects the package wandb. Run: pip install wandb"
