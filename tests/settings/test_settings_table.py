from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recbole.utils import argument_list

from recbole_tinynews.settings.literals import packaged_folder, read_yaml
from recbole_tinynews.settings.run_settings import METRICS, WHEN, recbole_overall_settings
from recbole_tinynews.settings.table import (
    NAMES,
    OURS,
    RECBOLES,
    Affects,
    Key,
    Models,
    affects_result,
    known_without_yaml,
    parse_key,
    setting,
    unknown_setting,
)

PROPERTIES = packaged_folder("properties")
DECLARING = [
    PROPERTIES / "overall.yaml",
    PROPERTIES / "impressions.yaml",
    PROPERTIES / "recbole.yaml",
    *sorted((PROPERTIES / "model").glob("*.yaml")),
    *sorted((PROPERTIES / "stage").glob("*.yaml")),
]
STAGES = [file.stem for file in (PROPERTIES / "stage").glob("*.yaml")]


def declared_in(file: Path) -> set[str]:
    of_stage = {METRICS} if file.parent.name == "stage" else set()
    return {parse_key(name, STAGES).name for name in read_yaml(file)} - {WHEN} - of_stage


@pytest.mark.parametrize("file", DECLARING, ids=lambda file: file.stem)
def test_every_setting_that_is_declared_has_a_row(file: Path) -> None:
    """Without a row it would have no rule, and a misspelt or forgotten one would go unnoticed."""
    assert declared_in(file) <= NAMES


def test_every_row_of_the_package_is_declared() -> None:
    """A row without a declaration is useless: no such setting can be given."""
    declared = set().union(*map(declared_in, DECLARING))
    assert {each.name for each in OURS} <= declared


def test_a_setting_has_one_row_and_it_is_where_it_belongs() -> None:
    """Of two rows for one setting the first would be lost."""
    names = [each.name for each in (*RECBOLES, *OURS)]
    assert len(set(names)) == len(names)
    recboles = {*recbole_overall_settings(), *known_without_yaml(Models.RECBOLE)}
    shared = {each.name for each in OURS} & recboles
    assert shared == {"result_file", "submission"}  # known to every model, by their rows


def test_a_users_own_setting_gets_the_default_row() -> None:
    own = setting("my_width")
    assert (own.rule, own.of_run, own.affects) == (None, False, Affects.RESULT)
    assert affects_result("my_width", has_teachers=False)


@pytest.mark.parametrize(
    ("name", "alone", "with_teachers"),
    [
        ("learning_rate", True, True),
        ("num_teachers", False, True),
        ("teacher_num_hidden_layers", False, True),
        ("stage_one", False, False),
        ("show_progress", False, False),
    ],
)
def test_what_affects_a_result_depends_on_teachers(
    name: str, alone: bool, with_teachers: bool
) -> None:
    """One more teacher would retrain every teacher."""
    assert affects_result(name, has_teachers=False) == alone
    assert affects_result(name, has_teachers=True) == with_teachers


def test_what_recbole_reads_of_every_data_set_holds_for_the_whole_run() -> None:
    """The data set is read once, for all stages."""
    for name in argument_list.dataset_arguments:
        assert setting(name).of_run


def test_settings_of_recboles_models_are_not_known_to_news_recommenders() -> None:
    of_recbole = set(known_without_yaml(Models.RECBOLE))
    assert "embedding_size" in of_recbole - set(known_without_yaml(Models.NEWS))
    assert set(known_without_yaml(Models.EVERY)) <= of_recbole


# Names

DECLARED = {"learning_rate": 1e-3, "epochs": 1, "topk": [5], "post_train_corpus": None}


@given(st.sampled_from([None, *STAGES]), st.sampled_from(sorted(NAMES)))
def test_a_setting_is_parsed_as_it_was_printed(stage: str | None, name: str) -> None:
    """Split at the wrong place, `post_train_corpus` would be an unknown setting of a stage."""
    key = Key(stage, name)
    assert parse_key(str(key), STAGES) == key


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("learnin_rate", "Did you mean learning_rate?"),
        ("learning-rate", "Did you mean learning_rate?"),
        ("finetune_teacher_epoch", "Did you mean finetune_teacher_epochs?"),
        ("finetune_techer_epochs", "Did you mean finetune_teacher_epochs?"),
        ("finetune_teacher_topk", "whole run, not for a stage. Set topk"),
        ("zzz", "Declare a new one in the yaml beside the model"),
    ],
)
def test_an_unknown_setting_is_answered_with_the_nearest_one(name: str, answer: str) -> None:
    """RecBole stores it and continues: with `learnin_rate: 9` it trains at 0.001."""
    assert answer in (unknown_setting(parse_key(name, STAGES), DECLARED, STAGES) or "")


def test_a_stages_setting_is_known_for_models_with_stages_only() -> None:
    name = "finetune_teacher_epochs"
    assert unknown_setting(parse_key(name, STAGES), DECLARED, STAGES) is None
    assert unknown_setting(parse_key(name, ()), DECLARED) is not None


def test_settings_that_recbole_reads_without_declaring_are_known() -> None:
    """A yaml that is written for RecBole has them."""
    known = recbole_overall_settings()
    assert {"config_file", "encoding", "tail_ratio", "worker"} <= set(known)
    assert known["learning_rate"] == 0.001
