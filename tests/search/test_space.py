"""A space file: what it may say, and that each mistake is named before the first trial."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from tiny import Tiny

from recbole_tinynews.search.search import make_space
from recbole_tinynews.settings.literals import read_yaml


def test_each_form_becomes_the_distribution_that_it_says(tiny: Tiny, tmp_path: Path) -> None:
    """``1e-5`` without a point is text to yaml, and a logarithmic range of text is none."""
    file = tmp_path / "space.yaml"
    file.write_text(
        "learning_rate: {log: [1e-5, 1e-3]}\n"
        "temperature: {uniform: [0.5, 4]}\n"
        "plm_dropout: {uniform: [0, 0.4], step: 0.1}\n"
        "negatives: {int: [1, 8]}\n"
        "history_length: {int: [2, 6], step: 2}\n"
        "num_teachers: [1, 2, 4]\n"
        "finetune_teacher_epochs: [1, 2]\n"
        "plm_learning_rate: [~, 1.e-4]\n"
    )
    assert make_space(read_yaml(file), str(file), tiny.config("TinyNewsRec"), ()) == {
        "learning_rate": FloatDistribution(1e-5, 1e-3, log=True),
        "temperature": FloatDistribution(0.5, 4.0),
        "plm_dropout": FloatDistribution(0.0, 0.4, step=0.1),
        "negatives": IntDistribution(1, 8),
        "history_length": IntDistribution(2, 6, step=2),
        "num_teachers": CategoricalDistribution([1, 2, 4]),
        "finetune_teacher_epochs": CategoricalDistribution([1, 2]),
        "plm_learning_rate": CategoricalDistribution([None, 1e-4]),
    }


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("learnin_rate", {"log": [1e-5, 1e-3]}, "Did you mean learning_rate"),
        ("num_teachers", [0, 1], "num_teachers expects an int from 1 to 1,000, got 0"),
        ("num_teachers", {"uniform": [1, 4]}, "num_teachers expects an int from 1 to 1,000"),
        ("num_teachers", {"int": [0, 4]}, "got 0"),
        ("plm_dropout", {"uniform": [0, 1]}, "expects a number >= 0 and < 1, got 1.0"),
        ("temperature", {"log": [0, 4]}, "`low > 0` must hold"),
        ("temperature", {"uniform": [4, 1]}, "`low <= high` must hold"),
        ("temperature", {"uniform": [1, float("inf")]}, "got {'uniform': [1, inf]}"),
        ("temperature", {"uniform": [1, 2, 3]}, "got {'uniform': [1, 2, 3]}"),
        ("temperature", {"uniform": [1, 2], "step": 0}, "`step > 0` must hold"),
        ("temperature", {"log": [1, 2], "step": 1}, "'step': 1"),
        ("temperature", {"log": ["1e-4", 1]}, "got {'log': ['1e-4', 1]}"),  # 1e-4 in yaml is text
        ("temperature", 2.0, "expects a list of at least two values, {uniform: [low, high]}"),
        ("learning_rate", {"loguniform": [-11, -7]}, "values, {uniform: [low, high]}"),
        ("temperature", [1.0], "at least two values"),
        ("negatives", {"int": [1.5, 4]}, "got {'int': [1.5, 4]}"),
        ("topk", [[5], [10]], "expects one value for all trials"),
        ("valid_metric", ["AUC", "MRR"], "expects one value for all trials"),
        ("worker", [0, 2], "expects one value for all trials"),
        ("seed", [1, 2], "expects one value for all trials"),
        ("history_length", [4, 6], "is on the command line too"),
    ],
)
def test_a_mistake_is_named_with_what_is_expected(
    tiny: Tiny, name: str, values: Any, message: str
) -> None:
    """Found by the trial that draws it, it would be one refused trial among fifty."""
    with pytest.raises(ValueError, match=r"mine\.yaml is no space for TinyNewsRec") as mistake:
        make_space({name: values}, "mine.yaml", tiny.config("TinyNewsRec"), ["history_length"])
    assert f"- {name} " in str(mistake.value)
    assert message in str(mistake.value)


@pytest.mark.parametrize(
    ("described", "mistakes"),
    [({"temperature": 1, "negatives": [0, 1], "no_such": [1, 2]}, 3), ({}, 1)],
)
def test_all_mistakes_are_named_at_once(tiny: Tiny, described: dict, mistakes: int) -> None:
    """Of an empty space, all trials would be the same one."""
    with pytest.raises(ValueError, match="no space") as mistake:
        make_space(described, "space", tiny.config("TinyNewsRec"), ())
    assert str(mistake.value).count("\n- ") == mistakes
