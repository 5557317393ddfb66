"""Recommenders without a language model: the contract, and each against a plain version."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from test_contract import (  # noqa: F401  # collected here too, with the fixture below
    ENCODING,
    model,
    scores_of,
    test_a_score_ignores_how_far_the_history_is_padded,
    test_a_score_ignores_the_order_of_the_candidates,
    test_a_score_ignores_the_other_impressions_of_its_batch,
    test_every_candidate_of_whole_impressions_gets_one_score,
)
from tiny import DATASET, EMPTY_TITLE, LONG_TITLE, Tiny, World, impressions_of

import recbole_tinynews
from recbole_tinynews.data.negatives import random_bits
from recbole_tinynews.pipeline.quick_start import run
from recbole_tinynews.settings.registry import MODELS
from recbole_tinynews.trainer import UntrainedTrainer, find_trainer

UNTRAINED = [name for name in MODELS if name not in ENCODING]
HISTORY_LENGTH = 6  # of the tiny settings; some histories are longer


@pytest.fixture(params=UNTRAINED)
def world(request: pytest.FixtureRequest, tiny: Tiny) -> World:
    return tiny.world(request.param)


def impressions(world: World) -> Iterator[tuple[int, list[int], list[int]]]:
    """Row, newest clicks and candidates of each validation impression."""
    shown = world.valid.inter_feat
    for row in range(shown.rows):
        clicked = shown.history.row(row)[-HISTORY_LENGTH:]
        yield row, clicked.tolist(), shown.candidates.row(row).tolist()


def all_scores(world: World) -> np.ndarray:
    """The scores of the validation, batch by batch."""
    return torch.cat([scores_of(world.model, each[0]) for each in world.impressions()]).numpy()


# ------------------------------------------------------------------------------ plain versions


def test_random_scores_are_uniform_and_depend_on_seed_impression_and_candidate(tiny: Tiny) -> None:
    """Scores that change with the batches would give the baseline another figure in each run."""
    world = tiny.world("Random", seed=7)
    plain = [
        float(random_bits(7, 0, np.array(row), np.array(news))) / 2**64
        for row, _, candidates in impressions(world)
        for news in candidates
    ]
    np.testing.assert_allclose(all_scores(world), plain, rtol=1e-6)
    assert not np.allclose(all_scores(tiny.world("Random", seed=8)), plain)
    many = impressions_of([[1]] * 50, [list(range(1, 41))] * 50)
    drawn = scores_of(world.model, many)
    assert drawn.unique().numel() == 2000
    assert drawn.mean() == pytest.approx(0.5, abs=0.03)
    assert drawn.std() == pytest.approx(math.sqrt(1 / 12), abs=0.02)


def test_categories_are_matched_as_counting_them_by_hand_does(tiny: Tiny) -> None:
    """MIND has articles without a subcategory, which have nothing in common by that."""
    world = tiny.world("CategoryMatch", category_weight=0.25, subcategory_weight=0.5)
    fields = [
        (weight, world.train.field2id_token[field], world.train.item_feat[field])
        for weight, field in ((0.25, "category"), (0.5, "subcategory"))
    ]
    plain = []
    for _, clicked, candidates in impressions(world):
        for news in candidates:
            score = 0.0
            for weight, names, of_news in fields:
                wanted = names[of_news[news]]
                same = sum(names[of_news[each]] == wanted != "[PAD]" for each in clicked)
                score += weight * same / max(1, len(clicked))
            plain.append(score)
    np.testing.assert_allclose(all_scores(world), plain, rtol=1e-6)
    assert "[PAD]" in {fields[1][1][fields[1][2][news]] for news in range(1, 41)}


def test_tf_idf_agrees_with_its_formula(tiny: Tiny) -> None:
    """Weights of the test impressions' words, or of every title, would be another baseline."""
    world = tiny.world("TfIdf")
    titles = [re.findall(r"\w\w+", title.lower()) for title in world.train.news_text["title"]]
    shown = world.train.inter_feat
    known = set(shown.candidates.values.tolist())
    for row in range(shown.rows):
        known |= set(shown.history.row(row)[-HISTORY_LENGTH:].tolist())
    found = Counter(word for news in known for word in set(titles[news]))
    idf = {word: math.log((1 + len(known)) / (1 + n)) + 1 for word, n in found.items()}

    def vector(news: int) -> dict[str, float]:
        counts = Counter(word for word in titles[news] if word in idf)
        weights = {word: n * idf[word] for word, n in counts.items()}
        norm = math.sqrt(sum(weight**2 for weight in weights.values())) or 1.0
        return {word: weight / norm for word, weight in weights.items()}

    def cosine(one: int, other: int) -> float:
        there = vector(other)
        return sum(weight * there.get(word, 0.0) for word, weight in vector(one).items())

    plain = [
        max((cosine(news, each) for each in clicked), default=0.0)
        for _, clicked, candidates in impressions(world)
        for news in candidates
    ]
    np.testing.assert_allclose(all_scores(world), plain, rtol=1e-5)
    alike = scores_of(world.model, impressions_of([[LONG_TITLE]], [[LONG_TITLE, EMPTY_TITLE]]))
    assert alike.tolist() == pytest.approx([1.0, 0.0])


@pytest.mark.parametrize("name", ["CategoryMatch", "TfIdf"])
def test_without_a_history_all_candidates_are_equal(tiny: Tiny, name: str) -> None:
    """Padding matches padding: articles of an unknown category would rank first."""
    shown = impressions_of([[0, 0]], [[EMPTY_TITLE, 4, 5, 6, 7]])
    scores = scores_of(tiny.world(name).model, shown)
    assert scores.tolist() == [0.0] * 5


# ------------------------------------------------------------------------- run, saved, refused


@pytest.mark.parametrize("name", UNTRAINED)
def test_a_run_trains_nothing_and_leaves_every_result(
    tiny: Tiny, tmp_path: Path, name: str
) -> None:
    """A row of a table needs the same files of a baseline as of a trained system."""
    settings = tiny.settings(name, eval_dump="dump.csv", submission="ranks.zip")
    result = run(name, DATASET, config_dict=settings)
    assert (result["parameters"], result["news_per_second"]) == (0, None)
    assert [stage["name"] for stage in result["stages"]] == [name]
    assert result["test"]["impressions"] == result["valid"]["impressions"] == 12
    assert result["test_cold"].keys() == result["test"].keys()
    with Path("dump.csv").open(encoding="utf-8", newline="") as file:
        dumped = [float(row["auc"]) for row in csv.DictReader(file) if row["auc"]]
    assert np.mean(dumped) == pytest.approx(result["test"]["auc"], abs=1e-6)
    assert Path("ranks.zip").is_file()
    again = run(name, DATASET, config_dict=settings)
    assert again["test"] == result["test"]
    assert again["stages"][0]["reused"]


def test_no_validation_is_asked_for_where_there_are_no_clicks_to_validate_on(tiny: Tiny) -> None:
    """The refusal of such data advises --eval_step=0, which has to help."""
    world = tiny.world("CategoryMatch", eval_step=0)
    trainer = find_trainer(type(world.model))(world.config, world.model)
    assert type(trainer) is UntrainedTrainer
    assert trainer.fit(None, world.impressions())[1] is None
    assert Path(trainer.saved_model_file).is_file()


def test_settings_of_language_models_are_none_of_theirs(tiny: Tiny) -> None:
    """A rate or a language model that changes nothing would be believed to have an effect."""
    for name, value in (("plm", "bert"), ("news_dim", 8), ("finetune_teacher_epochs", 1)):
        with pytest.raises(ValueError, match=rf"{name} .*is no setting"):
            tiny.config("CategoryMatch", **{name: value})


def test_a_saved_one_is_not_loaded_to_rank_titles(tiny: Tiny) -> None:
    """It reads what titles alone do not tell, and the message must say so."""
    result = run("CategoryMatch", DATASET, config_dict=tiny.settings("CategoryMatch"))
    folder = Path("saved", DATASET, f"CategoryMatch-{result['stages'][0]['fingerprint']}")
    with pytest.raises(
        ValueError, match="CategoryMatch, which must be a subclass of NewsRecommender that reads"
    ):
        recbole_tinynews.load(folder)
