"""Finds all mistakes in a run's settings, to report them at once, and settings without effect."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from recbole_tinynews.settings.layering import DEFAULT, Layering
from recbole_tinynews.settings.names import Key, parse_key, unknown_setting
from recbole_tinynews.settings.values import FIELD, brief, unfit_value

# Entries that RecBole reads; it silently ignores misspelt ones.
_FIELDS = ("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD", "LABEL_FIELD", "ITEM_LIST_LENGTH_FIELD")
EVALUATION = "eval_args"  # on impressions, only its mode is read
_ENTRIES = {
    EVALUATION: ("split", "group_by", "order", "mode"),
    "train_neg_sample_args": ("distribution", "sample_num", "alpha", "dynamic", "candidate_num"),
}


def mistakes_by_key(
    switches: Iterable[str], settings: Layering, values: Mapping[Key, Any]
) -> Iterator[str]:
    """Unknown names, then flags without a value (``switches``), then invalid values."""
    yield from _name_mistakes(settings)
    for name in switches:
        plain = parse_key(name, settings.stages).name
        if plain in settings.declared and not isinstance(settings.declared[plain], bool):
            yield f"--{name} (command line) needs a value: write --{name}=value"
    yield from _value_mistakes(settings, values)


def data_mistakes(folder: Path) -> Iterator[str]:
    """A missing data set, with the command that creates one."""
    if not folder.is_dir():
        yield (
            f"dataset expects a folder {folder.resolve()} (data_path/dataset), which does not "
            "exist. Convert MIND into it: python -m recbole_tinynews.convert --train=DIR "
            f"--valid=last-day --test=DIR --dataset={folder.name} --output={folder.parent}"
        )


def _name_mistakes(settings: Layering) -> Iterator[str]:
    for source, values in settings.layers:
        for key, value in values.items():
            if mistake := unknown_setting(key, settings.declared, settings.stages):
                yield f"{key!s:.100} ({source}) {mistake}"
            known = _ENTRIES.get(str(key), ())
            for entry in value if known and isinstance(value, Mapping) else ():
                if entry not in known:
                    choices = ", ".join(known)
                    yield f"{key} ({source}) has no entry {entry!r}: write some of {choices}"


def _value_mistakes(settings: Layering, values: Mapping[Key, Any]) -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, str) and value == "None" and settings.source_of(key) != DEFAULT:
            mistake: str | None = "got the text 'None': write ~ or null for no value"
        else:
            default = settings.typed_defaults.get(key.name)
            mistake = unfit_value(key.name, value, settings.rules, default)
        if mistake:
            yield f"{key} ({settings.source_of(key)}) {mistake}"


def process_mistakes(
    final: Mapping[str, Any], model: str, processes: int, shares_work: bool
) -> Iterator[str]:
    """Requests for several processes that can't be met; ``processes`` were started by torchrun."""
    one = {"nproc": (None, 1), "world_size": (None, -1, 0, 1), "local_rank": (None, 0)}
    if several := [f"{name}={final[name]}" for name in one if final.get(name) not in one[name]]:
        yield (
            f"{', '.join(several)}: settings start no process. Start several by run_recbole.py "
            "--nproc=N, or by torchrun --nproc_per_node=N run_recbole.py"
        )
    if processes > 1 and not shares_work:
        yield one_process_alone(model)


def one_process_alone(model: str) -> str:
    """Message: the model trains in a single process only."""
    return (
        f"{model} has no language model to share out and is trained by one process, got several. "
        "Start it without torchrun and --nproc"
    )


def field_mistakes(final: Mapping[str, Any], taken: Collection[str]) -> Iterator[str]:
    """Batch fields that share a name and would overwrite each other; ``taken`` are fixed names."""
    named = {name: final.get(name) for name in _FIELDS}
    if not all(map(FIELD.holds, named.values())):
        return  # reported by the rule of the setting
    seen = dict.fromkeys(taken, "a column of the data")
    for name, field in named.items():
        if field in seen:
            yield f"{name} expects a name of its own, got {field}, which is {seen[field]}"
        seen.setdefault(str(field), name)


def package_mistakes(final: Mapping[str, Any]) -> Iterator[str]:
    """Settings that need a missing package."""
    if final.get("log_wandb") is True and importlib.util.find_spec("wandb") is None:
        yield "log_wandb expects the package wandb. Run: pip install wandb"


def drop_unread(settings: Layering, unread: Collection[str]) -> Iterator[str]:
    """Reset unread settings, which would change fingerprints; yield a warning for each."""
    values, defaults = settings.values, settings.before_user
    for key in [key for key in values if key.name in unread]:
        if values[key] != defaults.get(key):
            yield f"{key} ({settings.source_of(key)}) has no effect, got {brief(values[key])}"
        if key in defaults:
            values[key] = defaults[key]
        else:
            del values[key]


def keep_mode_alone(final: dict[str, Any], default: Mapping[str, Any]) -> Iterator[str]:
    """Reset the entries of ``eval_args`` other than its mode, with a warning."""
    unread = [k for k, v in final[EVALUATION].items() if k != "mode" and v != default.get(k)]
    if unread:
        yield f"{EVALUATION} has no effect beyond its mode, got {', '.join(map(str, unread))} too"
    final[EVALUATION] = dict(default)
