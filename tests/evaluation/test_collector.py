from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction
from recbole.evaluator import Evaluator

from recbole_tinynews.data.impressions import ArticleFacts, Impressions
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.evaluation.collector import ImpressionCollector, cold_impressions
from recbole_tinynews.evaluation.metrics import auc
from recbole_tinynews.evaluation.recbole_metrics import register_metrics

SHOWN = Impressions(
    np.array(["7", "123", "x-9"]),
    np.array([30, 10, 20], np.int32),
    np.zeros(3, np.int64),
    Ragged.from_rows([[1], [], [2, 3]], np.int32),
    Ragged.from_rows([[1, 2, 3], [3, 4], [5, 6]], np.int32),
    np.zeros(7, np.int8),
)
FACTS = ArticleFacts(np.arange(7), np.zeros(7, np.int64))
# scores, labels, sizes, rows of two batches with three impressions, the last of one class
FIRST = ([0.5, 0.5, 0.2, 0.1, 0.9], [1, 0, 0, 0, 1], [3, 2], [0, 1])
SECOND = ([0.3, 0.4], [0, 0], [2], [2])
EXPECTED = {"auc": 0.875, "mrr": 0.75, "ndcg@5": 0.8155, "impressions": 2, "skipped": 1}


def config_of(*metrics: str) -> dict:
    return {
        "metrics": list(metrics),
        "topk": [5],
        "metric_decimal_place": 4,
        "eval_args": {"mode": {"valid": "labeled", "test": "labeled"}},
        "device": torch.device("cpu"),
        "LABEL_FIELD": "label",
    }


CONFIG = config_of("ImpressionAUC", "ImpressionMRR", "ImpressionNDCG", "ImpressionCount")


@pytest.fixture(autouse=True)
def _registered() -> None:
    register_metrics()


@pytest.fixture
def collector() -> ImpressionCollector:
    collector = ImpressionCollector(CONFIG)
    collector.start(SHOWN, FACTS)
    return collector


def collect(collector, *batches, dtype=torch.float32) -> None:
    for scores, labels, sizes, rows in batches:
        interaction = Interaction(
            {
                "label": torch.tensor(labels, dtype=torch.int8),
                "impression_size": torch.tensor(sizes),
                "impression": torch.tensor(rows),
            }
        )
        collector.eval_batch_collect(torch.tensor(scores, dtype=dtype), interaction, None, None)


def test_recboles_evaluator_reads_what_was_collected_last(collector) -> None:
    """RecBole never clears keys that it doesn't know: each epoch would contain all earlier ones."""
    for _ in range(2):
        collect(collector, FIRST)  # interrupted, such as by Ctrl-C in a notebook
        collector.start(SHOWN, FACTS)
        collect(collector, FIRST, SECOND)
        struct = collector.get_data_struct()
        assert len(struct.get("rec.score")) == 7
        assert Evaluator(CONFIG).evaluate(struct) == EXPECTED


def test_nan_is_blamed_on_the_impressions_id_and_the_next_evaluation_is_clean(collector) -> None:
    """With 'NaN' alone the user would have to search a million rows."""
    scores = [0.5, 0.5, 0.2, float("nan"), 0.9]
    collect(collector, (scores, *FIRST[1:]), SECOND)
    with pytest.raises(ValueError, match=r"impression 123 \(row 1 of .*lower the learning rate"):
        collector.get_data_struct()
    assert collector.evaluated is None
    collect(collector, FIRST, SECOND)
    assert Evaluator(CONFIG).evaluate(collector.get_data_struct()) == EXPECTED


def test_users_and_articles_are_those_of_the_collected_rows_in_a_part_too() -> None:
    """Batches come in another order than rows: users would have others' articles and scores."""
    collector = ImpressionCollector(config_of("UserGAUC", "CategoryDiversity"))
    collector.start(SHOWN, FACTS)
    collect(collector, SECOND, FIRST)
    whole = collector.get_data_struct().get("rec.impressions")
    assert whole is collector.evaluated
    assert collector.ids.tolist() == ["x-9", "7", "123"]
    assert whole.ranked.evaluated.tolist() == [False, True, True]
    part = whole.only(np.array([True, False, True])[collector.rows])
    assert whole.users.tolist() == [20, 30, 10]
    assert whole.offsets.tolist() == [0, 2, 5, 7]
    assert whole.labels.tolist() == [0, 0, 1, 0, 0, 0, 1]
    assert part.users.tolist() == [20, 30]
    np.testing.assert_allclose(part.scores, [0.3, 0.4, 0.5, 0.5, 0.2], rtol=1e-6)
    ranked, history = whole.articles.ranked, whole.articles.history
    assert [ranked.row(row).tolist() for row in range(3)] == [[6, 5], [2, 1, 3], [4, 3]]
    assert [history.row(row).tolist() for row in range(3)] == [[2, 3], [1], []]
    assert whole.articles.facts is FACTS
    assert part.articles.ranked.values.tolist() == [6, 5, 2, 1, 3]
    assert part.articles.history.values.tolist() == [2, 3, 1]
    collector.start(SHOWN)  # texts, of which nothing is known
    collect(collector, SECOND, FIRST)
    assert collector.get_data_struct().get("rec.impressions").articles is None


def test_articles_are_not_ranked_for_metrics_that_see_clicks_alone(collector) -> None:
    """MIND-large has 14 million candidates in its validation set."""
    collect(collector, FIRST, SECOND)
    assert collector.get_data_struct().get("rec.impressions").articles is None


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (([0.1, 0.2, 0.3], [0, 1, 0], [2, 2], [0, 1]), r"scores \[3\].*2 sizes with sum 4"),
        (([0.1, 0.2, 0.3], [0, 1], [3], [0]), r"scores \[3\], labels \[2\]"),
        (([[0.1, 0.2]], [0, 1], [2], [0]), r"scores \[1, 2\]"),
        (([0.1, 0.2], [0, 1], [2], [0, 1]), "and 2 impressions"),
    ],
)
def test_a_batch_that_does_not_add_up_is_refused_where_it_happens(
    collector, batch, message
) -> None:
    """Padding left in the scores would shift every later impression by some candidates."""
    collect(collector, FIRST)
    with pytest.raises(ValueError, match=message):
        collect(collector, batch)
    collect(collector, FIRST, SECOND)
    assert Evaluator(CONFIG).evaluate(collector.get_data_struct()) == EXPECTED


def test_an_impression_that_comes_twice_is_refused(collector) -> None:
    """Samplers for several GPUs pad with repeats, which would silently count twice."""
    collect(collector, FIRST, SECOND, ([0.1, 0.9], [0, 1], [2], [1]))
    with pytest.raises(ValueError, match=r"got impression 123 \(row 1 .*\) 2 times"):
        collector.get_data_struct()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_scores_of_any_precision_are_ranked(collector, dtype) -> None:
    """There is no bfloat16 in numpy, so mixed precision would fail after the whole evaluation."""
    collect(collector, FIRST, SECOND, dtype=dtype)
    struct = collector.get_data_struct()
    assert Evaluator(CONFIG).evaluate(struct) == EXPECTED
    assert struct.get("rec.score").dtype == (
        torch.float64 if dtype == torch.float64 else torch.float32
    )


def test_a_buffer_that_the_model_fills_again_does_not_change_earlier_scores(collector) -> None:
    """Without a copy, all batches would hold the scores of the last one."""
    buffer = torch.tensor([0.1, 0.9], requires_grad=True)
    for row in range(2):
        interaction = Interaction(
            {
                "label": torch.tensor([0, 1]),
                "impression_size": torch.tensor([2]),
                "impression": torch.tensor([row]),
            }
        )
        collector.eval_batch_collect(buffer, interaction, None, None)
        with torch.no_grad():
            buffer.copy_(buffer.flip(0))
    assert auc(collector.get_data_struct().get("rec.impressions").ranked).tolist() == [1.0, 0.0]


def test_an_evaluation_without_batches_has_no_impressions(collector) -> None:
    """torch.cat of nothing raises an error that says nothing."""
    result = Evaluator(CONFIG).evaluate(collector.get_data_struct())
    assert (result["impressions"], result["skipped"]) == (0, 0)


@pytest.mark.parametrize("before", [set(), {3}, set(range(1, 30)), set(range(60))])
def test_cold_impressions_are_those_of_a_plain_loop(many_impressions, before: set[int]) -> None:
    """One click seen before makes an impression easy for a model that counts clicks."""
    labels = np.where(np.arange(len(many_impressions.labels)) % 7, many_impressions.labels, -1)
    offsets = np.sort(np.append(many_impressions.offsets, many_impressions.offsets[::9]))  # empty
    news = np.random.default_rng(11).integers(1, 60, len(labels))
    clicked = [set(news[a:b][labels[a:b] == 1].tolist()) for a, b in pairwise(offsets)]
    found = cold_impressions(news, labels, offsets, before)
    assert found.tolist() == [bool(each) and not each & before for each in clicked]
