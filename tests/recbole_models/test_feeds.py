from __future__ import annotations

import pytest
from recbole.utils import InputType

from recbole_tinynews.recbole_models.feeds import (
    EXCEPTIONS,
    UNFIT,
    Feed,
    History,
    Rows,
    feed_of,
    why_unfit,
)
from recbole_tinynews.settings.registry import MODELS, find_model, recbole_models

LIBRARIES = {"lightgbm", "xgboost"}  # not installed


def test_every_model_of_recbole_is_fed_or_named_with_the_reason() -> None:
    """A model without either would fail inside RecBole, or learn from noise."""
    names = recbole_models()
    assert UNFIT.keys() | EXCEPTIONS.keys() <= set(names)
    fed = 0
    for name in set(names) - LIBRARIES - set(MODELS):  # Random is ours
        model = find_model(name)
        if why_unfit(model) is None:
            feed = feed_of(model, getattr(model, "input_type", InputType.POINTWISE))
            assert isinstance(feed, Feed), name
            fed += 1
    assert fed > 60


def test_a_model_of_another_kind_is_told_which_kinds_there_are() -> None:
    mine = type("Mine", (find_model("BPR"),), {})
    with pytest.raises(ValueError, match=r"Mine expects .*GENERAL, PAIRWISE.*got .*LISTWISE"):
        feed_of(mine, InputType.LISTWISE)


@pytest.mark.parametrize(
    ("model", "input_type", "feed"),
    [
        ("Pop", InputType.POINTWISE, Feed(Rows.CLICKS)),
        ("BPR", InputType.PAIRWISE, Feed(Rows.PAIRS)),
        ("NeuMF", InputType.POINTWISE, Feed(Rows.LABELLED)),
        ("MultiVAE", InputType.PAIRWISE, Feed(Rows.USERS)),
        ("DeepFM", InputType.POINTWISE, Feed(Rows.LABELLED)),
        ("SASRec", InputType.POINTWISE, Feed(Rows.CLICKS, History.HISTORY)),
        ("SASRec", InputType.PAIRWISE, Feed(Rows.PAIRS, History.HISTORY)),
        ("DIN", InputType.POINTWISE, Feed(Rows.LABELLED, History.HISTORY)),
    ],
)
def test_a_model_is_fed_what_its_loss_reads(model: str, input_type: InputType, feed: Feed) -> None:
    """A pair-wise model that is given labelled rows would take every row for a click."""
    found = find_model(model)
    assert feed_of(found, input_type) == feed
    assert feed_of(type("Mine", (found,), {}), input_type) == feed
