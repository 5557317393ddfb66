"""Lists and pages of settings: complete, true, and no wider than asked."""

from __future__ import annotations

import pytest

from recbole_tinynews.settings import reference
from recbole_tinynews.settings.reference import entries_of, every_name, explanation, read_by
from recbole_tinynews.settings.registry import MODELS, recbole_models
from recbole_tinynews.settings.table import OURS

NAMES = sorted(every_name())
LISTED = [*MODELS, "BPR", "SASRec", "DeepFM"]


@pytest.fixture(params=[80, 100])
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("COLUMNS", str(request.param))
    return request.param


def widest(page: str) -> int:
    return max(map(len, page.splitlines()))


def test_all_models_are_listed_once_and_fit(width: int) -> None:
    page = reference.model_list()
    assert widest(page) <= width
    words = page.replace(",", " ").split()
    for name in {*MODELS, *recbole_models()}:
        assert name in words


@pytest.mark.parametrize("model", LISTED)
def test_a_list_of_settings_fits_and_has_its_models_settings(width: int, model: str) -> None:
    page = reference.setting_list(model)
    assert widest(page) <= width
    named = {
        line.split()[0] for line in page.splitlines() if line.startswith("  ") and line[2:3] != " "
    }
    assert {*map(str, read_by(model))} <= named
    assert {"seed", "checkpoint_dir"} <= named
    assert named.isdisjoint({"nproc", "world_size", "ip", "port", "offset"})  # which no run takes


def test_every_setting_of_the_package_is_explained(width: int) -> None:
    """A setting without meaning would have to be looked up in the code."""
    assert {each.name for each in OURS} <= set(NAMES)
    for name in NAMES:
        page = explanation(name)
        assert widest(page) <= width, name
        if name in {each.name for each in OURS}:
            assert "not described" not in page, name


def test_a_page_has_meaning_rule_defaults_and_effect() -> None:
    page = explanation("plm_learning_rate")
    assert page.startswith("plm_learning_rate (float): Rate of the language model's layers")
    assert "allowed     a number >= 0 and < 1e+15 or ~" in page
    assert "default     ~: every news recommender" in page
    assert "1e-06: stage post_train_student, stage post_train_teacher" in " ".join(page.split())
    assert "effect      A stage may differ. Another value retrains what reads it." in page


def test_a_value_under_a_condition_is_told_with_it() -> None:
    """Whoever reads the plain default alone would take it for the one that is used."""
    page = " ".join(explanation("word_vectors").split())
    assert "word_vectors.txt.gz: data set mind-mini where news_encoder is words" in page


def test_a_comment_of_several_lines_is_read_whole() -> None:
    from recbole_tinynews.settings.literals import packaged_folder

    file = packaged_folder("properties") / "overall.yaml"
    of_overall = {entry.name: entry for entry in entries_of(file, "all")}
    assert of_overall["precision"].meaning.endswith("identical on all processors.")
    assert of_overall["text_prefix"].meaning.endswith('"query: ".')
    assert of_overall["finetune_layers"].kind == "int or 'all'"
