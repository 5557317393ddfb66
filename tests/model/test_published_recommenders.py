"""NRMS, NAML and LSTUR against plain versions of them, and their sizes counted by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from published import (
    CATEGORY_IDS,
    USERS,
    WORD_VECTORS,
    assert_as_in_its_paper,
    assert_is_a_teacher,
    assert_learns_from_teachers,
    assert_refused,
    at_paper_size,
    cnn,
    gru,
    known,
    pooling,
)
from tiny import Tiny

CASES: list[tuple[str, dict[str, Any]]] = [
    ("NRMS", {"news_dim": 32}),
    ("NAML", {}),
    ("NAML", {"views": ["body", "subcategory", "title"], "word_encoder": "self_attention"}),
    ("LSTUR", {}),
    ("LSTUR", {"user_combination": "con"}),
]


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_a_recommender_scores_and_learns_as_its_paper_says(tiny: Tiny, name: str, settings) -> None:
    """Of all that a table compares, a wrong equation would be the hardest to see."""
    assert_as_in_its_paper(tiny, name, settings)


@pytest.mark.parametrize("name", ["NRMS", "NAML", "LSTUR"])
def test_a_recommender_learns_from_teachers_too(tiny: Tiny, name: str) -> None:
    """One of its parts would be left without a gradient."""
    assert_learns_from_teachers(tiny, name, {})


@pytest.mark.parametrize("name", ["NRMS", "NAML", "LSTUR"])
def test_a_recommender_is_a_teacher_too(tiny: Tiny, name: str) -> None:
    """Labels that are not its scores would teach something else."""
    assert_is_a_teacher(tiny, name, {})


def test_users_have_scores_of_their_own(tiny: Tiny) -> None:
    """Ids that never arrive would leave every user the unknown one, and no test would fail."""
    world = tiny.world("LSTUR")
    model, batch = known(world.model), world.shown([5])
    scores = []
    for user in (0, 1, 2):
        batch["user_id"][:] = user
        scores.append(model.predict(batch))
    assert not torch.allclose(scores[0], scores[1])
    assert not torch.allclose(scores[1], scores[2])


def test_settings_that_do_not_fit_are_found_before_training(tiny: Tiny) -> None:
    settings = {"user_combination": "con", "news_dim": 15}
    message = r"stage_user_combination=con expects news vectors of an even size in LSTUR, got 215"
    assert_refused(tiny, "LSTUR", settings, message)


OF_LSTUR = WORD_VECTORS + (cnn(300) + pooling(300)) + 2 * CATEGORY_IDS * 100
SIZES: list[tuple[str, dict[str, Any], int]] = [
    (
        "NRMS",
        {},
        WORD_VECTORS
        + (3 * 300 * 256 + pooling(256))
        + (3 * 256 * 256 + pooling(256) + 256),  # the last stands for a user without clicks
    ),
    (
        "NAML",
        {},
        WORD_VECTORS
        + 2 * (cnn(400) + pooling(400))  # title and abstract
        + 2 * (CATEGORY_IDS * 100 + 100 * 400 + 400)  # category and subcategory
        + pooling(400)  # of views
        + (pooling(400) + 400),  # of clicks; the vector of a user without any
    ),
    ("LSTUR", {}, OF_LSTUR + (USERS * 500 + gru(500, 500) + 500)),
    ("LSTUR", {"user_combination": "con"}, OF_LSTUR + (USERS * 250 + gru(500, 250) + 500)),
]


@pytest.mark.parametrize(("name", "settings", "expected"), SIZES)
def test_a_recommender_is_as_large_as_counted_by_hand(tiny: Tiny, name, settings, expected) -> None:
    """At the sizes of the papers, which its yaml has."""
    assert at_paper_size(tiny, name, **settings).parameter_count == expected
