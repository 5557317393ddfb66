"""Training inputs of RecBole's own models, and models that cannot run on impressions."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from recbole.utils import InputType, ModelType

from recbole_tinynews.recbole_models.unfit import GRAPH, LIBRARY, UNFIT


class Rows(Enum):
    """Kinds of training rows.

    ``impression_negatives`` takes negatives from the click's own impression, instead of RecBole's
    sampler with ``train_neg_sample_args``. If unset, pairs are sampled, and labelled rows are the
    candidates of the impressions.
    """

    CLICKS = "a click"  # without negatives
    PAIRS = "a click and a negative"
    LABELLED = "an item and whether it was clicked"
    USERS = "a user, whose clicks the model has from the data set"


class Sequence(Enum):
    """The item sequence of a row."""

    NONE = "none"
    HISTORY = "the impression's history, without the row's own item"
    HISTORY_AND_CLICK = "in training with the click at its end, for models that mask items"


class Feed(NamedTuple):
    """Training rows and sequences of a model."""

    rows: Rows
    sequence: Sequence = Sequence.NONE
    negative_sequence: bool = False  # with a random item per sequence item


_HISTORY = Sequence.HISTORY

# Models without an input type get it from loss_type, as in RecBole: CE is point-wise (over all
# items), BPR pair-wise.
FAMILIES: dict[tuple[ModelType, InputType], Feed] = {
    (ModelType.TRADITIONAL, InputType.POINTWISE): Feed(Rows.CLICKS),
    (ModelType.GENERAL, InputType.PAIRWISE): Feed(Rows.PAIRS),
    (ModelType.GENERAL, InputType.POINTWISE): Feed(Rows.LABELLED),
    (ModelType.CONTEXT, InputType.POINTWISE): Feed(Rows.LABELLED),
    (ModelType.SEQUENTIAL, InputType.PAIRWISE): Feed(Rows.PAIRS, _HISTORY),
    (ModelType.SEQUENTIAL, InputType.POINTWISE): Feed(Rows.CLICKS, _HISTORY),
}
# Models that differ from their family.
EXCEPTIONS: dict[str, Feed] = {
    "BERT4Rec": Feed(Rows.CLICKS, Sequence.HISTORY_AND_CLICK),
    "DIN": Feed(Rows.LABELLED, _HISTORY),
    "DIEN": Feed(Rows.LABELLED, _HISTORY, negative_sequence=True),
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
