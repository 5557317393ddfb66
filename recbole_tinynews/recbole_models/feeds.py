"""The settings and training inputs of RecBole's own models on impressions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from enum import Enum
from typing import Any, NamedTuple

from recbole.utils import InputType, ModelType

from recbole_tinynews.settings.registry import GRAPH, LIBRARY, UNFIT

_INPUT_TYPES = {"CE": InputType.POINTWISE, "BPR": InputType.PAIRWISE}  # by loss_type, as in RecBole

_SAMPLES = "train_neg_sample_args"
_SAMPLED = {"distribution": "uniform", "sample_num": 1}


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
    ours, theirs = "history_length", "MAX_ITEM_LIST_LENGTH"
    if {ours, theirs} <= asked and final[ours] != final[theirs]:
        yield f"{ours} is {theirs} under another name, got {final[ours]} and {final[theirs]}"
    final[ours] = final[theirs] = final[theirs if theirs in asked else ours]
    yield from _fit_negatives(who, rows, final, asked)


def _fit_negatives(who: str, rows: Rows, final: dict[str, Any], asked: Set[str]) -> Iterator[str]:
    if _SAMPLES not in asked:
        final[_SAMPLES] = dict(_SAMPLED) if rows is Rows.PAIRS else None
    how = final[_SAMPLES]
    if not isinstance(how, Mapping | None):  # the setting's rule reports it
        return
    samples = how is not None and how.get("distribution", "uniform") is not None
    if samples and rows in (Rows.CLICKS, Rows.USERS):
        yield (
            f"{_SAMPLES} expects a model that learns from negatives, got {how}: a training row of "
            f"{who} is {rows.value}. Leave it out"
        )
    elif rows is Rows.PAIRS and not samples:
        yield f"{_SAMPLES} expects a distribution and a sample_num for this model, got {how}"


class Rows(Enum):
    """Kinds of training rows.

    Negatives of pairs are RecBole's samples, by ``train_neg_sample_args``; labelled rows are the
    candidates of the impressions, or clicks and samples if that setting asks for samples.
    """

    CLICKS = "a click"  # without negatives
    PAIRS = "a click and a negative"
    LABELLED = "an item and whether it was clicked"
    USERS = "a user, whose clicks the model has from the data set"


class History(Enum):
    """The item sequence of a row."""

    NONE = "none"
    HISTORY = "the impression's history, without the row's own item"
    HISTORY_AND_CLICK = "in training with the click at its end, for models that mask items"


class Feed(NamedTuple):
    """Training rows and sequences of a model."""

    rows: Rows
    sequence: History = History.NONE
    negative_sequence: bool = False  # with a random item per sequence item


# Models without an input type get it from loss_type, as in RecBole: CE is point-wise (over all
# items), BPR pair-wise.
FAMILIES: dict[tuple[ModelType, InputType], Feed] = {
    (ModelType.TRADITIONAL, InputType.POINTWISE): Feed(Rows.CLICKS),
    (ModelType.GENERAL, InputType.PAIRWISE): Feed(Rows.PAIRS),
    (ModelType.GENERAL, InputType.POINTWISE): Feed(Rows.LABELLED),
    (ModelType.CONTEXT, InputType.POINTWISE): Feed(Rows.LABELLED),
    (ModelType.SEQUENTIAL, InputType.PAIRWISE): Feed(Rows.PAIRS, History.HISTORY),
    (ModelType.SEQUENTIAL, InputType.POINTWISE): Feed(Rows.CLICKS, History.HISTORY),
}
# Models that differ from their family.
EXCEPTIONS: dict[str, Feed] = {
    "BERT4Rec": Feed(Rows.CLICKS, History.HISTORY_AND_CLICK),
    "DIN": Feed(Rows.LABELLED, History.HISTORY),
    "DIEN": Feed(Rows.LABELLED, History.HISTORY, negative_sequence=True),
    **dict.fromkeys(
        ("CDAE", "DiffRec", "ENMF", "MacridVAE", "MultiDAE", "MultiVAE", "RecVAE"),
        Feed(Rows.USERS),
    ),
}

UNFIT_FAMILIES: dict[ModelType, str] = {
    ModelType.KNOWLEDGE: GRAPH,
    ModelType.DECISIONTREE: LIBRARY,
}


def feed_of(model_class: type, input_type: InputType) -> Feed:
    """The feed of a model or a subclass of one; ``ValueError`` if its family is unsupported."""
    for cls in model_class.__mro__:
        if cls.__name__ in EXCEPTIONS:
            return EXCEPTIONS[cls.__name__]
    family = getattr(model_class, "type", None), input_type
    if family not in FAMILIES:
        known = "; ".join(f"{kind.name}, {reads.name}" for kind, reads in FAMILIES)
        raise ValueError(
            f"{model_class.__name__} expects a type and an input_type that run on impressions "
            f"({known}), got {', '.join(getattr(each, 'name', str(each)) for each in family)}"
        )
    return FAMILIES[family]


def why_unfit(model_class: type) -> str | None:
    """Why a model cannot run on impressions; None where it can."""
    for cls in model_class.__mro__:
        if cls.__name__ in UNFIT:
            return UNFIT[cls.__name__]
    return UNFIT_FAMILIES.get(getattr(model_class, "type", None))
