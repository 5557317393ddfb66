"""Settings of RecBole's own models that depend on the model or on each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

from recbole.utils import InputType

from recbole_tinynews.files.columns import CANDIDATES, typed
from recbole_tinynews.recbole_models.feeds import Rows, feed_of, why_unfit

_INPUT_TYPES = {"CE": InputType.POINTWISE, "BPR": InputType.PAIRWISE}  # by loss_type, as in RecBole

_SAMPLES, _CANDIDATES = "train_neg_sample_args", "impression_negatives"
_SAMPLED = {"distribution": "uniform", "sample_num": 1}
# RecBole's sampling defaults, which do not apply to negatives from impressions.
_HOW_SAMPLED = {"distribution": "uniform", "alpha": 1.0, "dynamic": False, "candidate_num": 0}


def has_impressions(data_set: Path) -> bool:
    """Whether rows are impressions (our format) rather than interactions."""
    file = data_set / f"{data_set.name}.train.inter"
    if not file.is_file():
        return False
    with file.open(encoding="utf-8", errors="replace") as lines:
        return typed([CANDIDATES])[0] in lines.readline().rstrip("\n").split("\t")


def fit_settings(model_class: type, final: dict[str, Any], asked: Set[str]) -> Iterator[str]:
    """Adapt ``final`` to the model's feed; yield an error for each conflict with ``asked``."""
    reason = why_unfit(model_class)
    if reason:
        yield f"model {model_class.__name__} cannot run on impressions: {reason}"
        return
    who, input_type = model_class.__name__, getattr(model_class, "input_type", None)
    if input_type is None:
        loss_type = final.get("loss_type")
        who, input_type = f"{who} with loss_type={loss_type}", _INPUT_TYPES.get(str(loss_type))
    if input_type is None:
        yield f"loss_type expects {' or '.join(_INPUT_TYPES)}, got {loss_type}"
        return
    try:
        rows = feed_of(model_class, input_type).rows
    except ValueError as problem:
        yield str(problem)
        return
    yield from _fit_history(final, asked)
    yield from _fit_negatives(who, rows, final, asked)


def _fit_history(final: dict[str, Any], asked: Set[str]) -> Iterator[str]:
    ours, theirs = "history_length", "MAX_ITEM_LIST_LENGTH"
    if {ours, theirs} <= asked and final[ours] != final[theirs]:
        yield f"{ours} is {theirs} under another name, got {final[ours]} and {final[theirs]}"
    final[ours] = final[theirs] = final[theirs if theirs in asked else ours]


def _fit_negatives(who: str, rows: Rows, final: dict[str, Any], asked: Set[str]) -> Iterator[str]:
    if _SAMPLES not in asked:
        final[_SAMPLES] = None
    how = final[_SAMPLES]
    if not isinstance(how, Mapping | None):  # the setting's rule reports it
        return
    samples = how is not None and how.get("distribution", "uniform") is not None
    if final[_CANDIDATES] is None:
        final[_CANDIDATES] = rows is Rows.LABELLED and not samples
    wanted = {_SAMPLES: samples, _CANDIDATES: final[_CANDIDATES]}
    if rows in (Rows.CLICKS, Rows.USERS):
        for name in filter(wanted.get, wanted):
            yield (
                f"{name} expects a model that learns from negatives, got {final[name]}: a training "
                f"row of {who} is {rows.value}. Leave it out"
            )
        return
    if rows is Rows.LABELLED and all(wanted.values()):
        yield f"{_SAMPLES} asks for samples and {_CANDIDATES} for none: leave one of them out"
    needed = rows is Rows.PAIRS or not final[_CANDIDATES]
    if needed and _SAMPLES not in asked:
        final[_SAMPLES] = dict(_SAMPLED)
    elif needed and not samples:
        yield f"{_SAMPLES} expects a distribution and a sample_num for this model, got {how}"
    elif how and rows is Rows.PAIRS and final[_CANDIDATES]:
        yield from _unread(how)


def _unread(how: Mapping[str, Any]) -> Iterator[str]:
    """Errors for sampling settings without effect on negatives from impressions."""
    unread = [f"{k}={how[k]}" for k, plain in _HOW_SAMPLED.items() if how.get(k, plain) != plain]
    if unread:
        yield (
            f"{_SAMPLES} expects a sample_num alone beside {_CANDIDATES}=true, got "
            f"{', '.join(unread)}: nothing is sampled from all news. Leave it out, or set "
            f"{_CANDIDATES}=false"
        )
