from __future__ import annotations

from typing import Any

import pytest

from recbole_tinynews.settings.table import unfit_value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("finetune_layers", 0),
        ("finetune_layers", "all"),
        ("num_hidden_layers", None),
        ("plm_dropout", 0),
        ("temperature", 2),
        ("target_loss_weight", 0),
        ("use_cache", "auto"),
        ("use_cache", False),
        ("topk", 5),
        ("topk", [5, 10]),
        ("plm_learning_rate", None),
    ],
)
def test_what_design_allows_is_allowed(name: str, value: Any) -> None:
    assert unfit_value(name, value) is None


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
