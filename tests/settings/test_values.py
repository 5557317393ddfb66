from __future__ import annotations

from typing import Any

import pytest

from recbole_tinynews.settings.table import unfit_value


def test_what_design_allows_is_allowed() -> None:
    """Ends of ranges, and values of another kind than the default's."""
    for name in ("finetune_layers", "plm_dropout", "target_loss_weight", "num_hidden_layers"):
        assert unfit_value(name, 0) is None, name
    for name in ("num_hidden_layers", "plm_learning_rate"):
        assert unfit_value(name, None) is None, name
    others = {"finetune_layers": "all", "temperature": 2, "use_cache": "auto", "topk": 5}
    for name, value in [*others.items(), ("use_cache", False), ("topk", [5, 10])]:
        assert unfit_value(name, value) is None, name


@pytest.mark.parametrize(
    ("name", "value", "answer"),
    [
        ("precision", "bf32", "one of ~, fp32, bf16, fp16, auto"),
        ("use_cache", 1, "one of auto, true, false"),
        ("negatives", 0, "an int from 1 to"),
        ("negatives", True, "an int from 1"),
        ("num_hidden_layers", -1, "an int from 0 to 1,000 or ~"),
        ("finetune_layers", "al", "Did you mean all?"),
        ("finetune_layers", -1, "an int >= 0 or all"),
        ("plm_dropout", 1.0, "< 1"),
        ("temperature", 0, "> 0"),
        ("temperature", float("nan"), "> 0"),
        ("distillation_loss_weight", -0.5, ">= 0"),
        ("learning_rate", "1e-5x", "a number > 0 and < 1e+15"),
        ("topk", [], "an int from 1 to 1,000 or a list"),
        ("topk", [5, 0], "an int from 1 to 1,000 or a list"),
        ("plm", None, "the name of a file or folder"),
    ],
)
def test_a_value_that_would_train_something_else_is_refused(
    name: str, value: Any, answer: str
) -> None:
    assert answer in (unfit_value(name, value) or "")


def test_a_setting_without_a_rule_is_held_to_the_kind_of_its_default() -> None:
    """`--amsgrad=fals` is a text, which Python treats as true."""
    assert "true or false" in (unfit_value("amsgrad", "fals", default=True) or "")
    assert "a number" in (unfit_value("alpha", "o.5", default=1) or "")
    assert unfit_value("alpha", 0.5, default=1) is None
    assert unfit_value("anything", {"a": 1}) is None
