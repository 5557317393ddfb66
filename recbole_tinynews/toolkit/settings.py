"""Settings of RecBole's own models on impressions that follow from the model or each other."""

from __future__ import annotations

from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

from recbole.utils import InputType

from recbole_tinynews.toolkit.feeds import Rows, feed_of, why_unfit

_INPUT_TYPES = {"CE": InputType.POINTWISE, "BPR": InputType.PAIRWISE}  # by loss_type, as RecBole
_SAMPLED = {"distribution": "uniform", "sample_num": 1}
_NO_SAMPLES = (None, "none", "None")  # as a distribution, in RecBole's code


def has_impressions(data_set: Path) -> bool:
    """Whether the folder holds a data set of ours: a row an impression, not an interaction."""
    file = data_set / f"{data_set.name}.train.inter"
    if not file.is_file():
        return False
    with file.open(encoding="utf-8", errors="replace") as lines:
        return "candidates:token_seq" in lines.readline().rstrip("\n").split("\t")


def fit_settings(model_class: type, final: dict[str, Any], asked: Set[str]) -> Iterator[str]:
    """Bring ``final`` to what the model is fed; yields what doesn't fit of what was ``asked``."""
    reason = why_unfit(model_class)
    if reason:
        yield f"model {model_class.__name__} cannot run on impressions: {reason}"
        return
    loss_type = final.get("loss_type")
    input_type = getattr(model_class, "input_type", None) or _INPUT_TYPES.get(str(loss_type))
    if input_type is None:
        yield f"loss_type expects {' or '.join(_INPUT_TYPES)}, got {loss_type}"
        return
    try:
        rows = feed_of(model_class, input_type).rows
    except ValueError as problem:
        yield str(problem)
        return
    yield from _fit_history(final, asked)
    yield from _fit_negatives(rows, final, asked)


def _fit_history(final: dict[str, Any], asked: Set[str]) -> Iterator[str]:
    ours, theirs = "history_length", "MAX_ITEM_LIST_LENGTH"
    if {ours, theirs} <= asked and final[ours] != final[theirs]:
        yield f"{ours} is {theirs} under another name, got {final[ours]} and {final[theirs]}"
    final[ours] = final[theirs] = final[theirs if theirs in asked else ours]


def _fit_negatives(rows: Rows, final: dict[str, Any], asked: Set[str]) -> Iterator[str]:
    name = "train_neg_sample_args"
    if name not in asked:
        final[name] = None
    samples = bool(final[name]) and final[name].get("distribution", "uniform") not in _NO_SAMPLES
    if final["impression_negatives"] is None:
        final["impression_negatives"] = rows is Rows.LABELLED and not samples
    if rows is Rows.LABELLED and final["impression_negatives"] and samples:
        yield f"{name} asks for samples and impression_negatives for none: leave one of them out"
    needed = rows is Rows.PAIRS or (rows is Rows.LABELLED and not final["impression_negatives"])
    if needed and name not in asked:
        final[name] = dict(_SAMPLED)
    elif needed and not samples:
        yield f"{name} expects a distribution and a sample_num for this model, got {final[name]}"
