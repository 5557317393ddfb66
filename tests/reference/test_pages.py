"""Lists and pages of settings: complete, true, and no wider than asked."""

from __future__ import annotations

import shlex

import pytest

from recbole_tinynews.reference import pages
from recbole_tinynews.reference.defaults import every_setting, meanings
from recbole_tinynews.reference.pages import as_yaml, example_value, explanation
from recbole_tinynews.registry import MODELS, recbole_models
from recbole_tinynews.settings.command_line import parse_command_line
from recbole_tinynews.settings.declared import OURS, setting
from recbole_tinynews.settings.values import POSITIVE, one_of

NAMES = sorted(every_setting())
LISTED = ["", *MODELS, "BPR", "SASRec", "DeepFM"]


@pytest.fixture(params=[80, 100])
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("COLUMNS", str(request.param))
    return request.param


def widest(page: str) -> int:
    return max(map(len, page.splitlines()))


def test_all_models_are_listed_once_and_fit(width: int) -> None:
    page = pages.model_list()
    assert widest(page) <= width
    words = page.replace(",", " ").split()
    for name in {*MODELS, *recbole_models()}:
        assert name in words


@pytest.mark.parametrize("model", LISTED)
def test_a_list_of_settings_fits_and_has_its_models_settings(width: int, model: str) -> None:
    page = pages.setting_list(model)
    assert widest(page) <= width
    named = {
        line.split()[0] for line in page.splitlines() if line.startswith("  ") and line[2:3] != " "
    }
    expected = {n for n, models in every_setting().items() if model in models or not model}
    if model in MODELS:
        assert expected <= named
    assert {"seed", "checkpoint_dir"} <= named


def test_every_setting_of_the_package_is_explained(width: int) -> None:
    """A setting without meaning would have to be looked up in the code."""
    assert {each.name for each in OURS} <= set(NAMES)
    for name in NAMES:
        page = explanation(name)
        assert widest(page) <= width, name
        if name in {each.name for each in OURS}:
            assert "not described" not in page, name


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_allowed_by_the_rule(name: str) -> None:
    """An example that is refused teaches nothing but distrust."""
    (line,) = [each for each in explanation(name).splitlines() if each.startswith("example ")] or [
        ""
    ]
    words = shlex.split(" ".join(explanation(name).partition("example ")[2].split()))
    asked = parse_command_line([words[-1]])
    assert line
    assert words[:2] == ["python", "run_recbole.py"]
    assert not asked.problems
    rule = setting(name).rule
    assert rule is None or rule.holds(asked.values[name])


def test_a_page_has_meaning_rule_defaults_stages_and_readers() -> None:
    page = explanation("plm_learning_rate")
    assert page.startswith("plm_learning_rate (float): Rate of the language model's layers")
    assert "a number >= 0 and < 1e+15 or ~" in page
    assert "1e-06: post_train_student" in page
    assert "read by     every stage" in page
    assert "retrains    every stage that reads it" in page


def test_a_stages_own_setting_has_the_stages_default() -> None:
    page = explanation("post_train_teacher_epochs")
    assert "default     1: post_train_teacher" in page
    assert "read by     only post_train_teacher, in place of epochs" in page


def test_what_a_change_costs_is_told() -> None:
    assert "retrains    nothing" in explanation("log_dir")
    assert "retrains    only stages with teachers" in explanation("num_teachers")
    assert "read by     the run as a whole" in explanation("num_teachers")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("learnin_rate", "learning_rate"),
        ("post_train_teacher_epoch", "post_train_teacher_epochs"),
        ("TEMPERATURE", "temperature"),
    ],
)
def test_an_unknown_setting_is_answered_with_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}.*Did you mean {nearest}"):
        explanation(name)


def test_a_setting_of_the_run_is_none_of_a_stage() -> None:
    with pytest.raises(ValueError, match="whole run"):
        explanation("finetune_teacher_num_teachers")


def test_examples_differ_from_the_default() -> None:
    assert example_value("a", one_of("a", "b")) == "b"
    assert example_value(4, POSITIVE) == 8
    assert example_value(None, POSITIVE, preferred=[7]) == 7
    assert [as_yaml(v) for v in (None, True, [1, 2], "a", 0.5)] == [
        *("null", "true", "[1, 2]", "a", "0.5")
    ]


def test_a_comment_of_several_lines_is_read_whole() -> None:
    from recbole_tinynews.paths import packaged_folder

    of_overall = meanings(packaged_folder("properties") / "overall.yaml")
    assert of_overall["precision"].text.endswith("identical on all processors.")
    assert of_overall["text_prefix"].text.endswith('"query: ".')
    assert of_overall["finetune_layers"].kind == "int or 'all'"
