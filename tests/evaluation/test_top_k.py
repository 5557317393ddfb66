from __future__ import annotations

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction
from recbole.evaluator import Evaluator
from recbole.evaluator.collector import Collector
from sklearn.metrics import (
    label_ranking_average_precision_score,
    precision_score,
    recall_score,
)

from recbole_tinynews.evaluation.metrics import rank_impressions
from recbole_tinynews.evaluation.top_k import average_precision, hit, precision, recall
from recbole_tinynews.recbole_models import patches

EXACT = {"rtol": 0, "atol": 1e-12}
CUTOFFS = (1, 2, 5, 10, 1000)


# The definitions, one impression at a time, without numpy.


def slow(scores, labels, k: int) -> dict[str, float]:
    """Every metric at k; ties are ranked in favour of the later candidate."""
    order = sorted(range(len(scores)), key=lambda c: (scores[c], c), reverse=True)
    first = [int(labels[c]) for c in order[:k]]
    clicks = int(sum(labels))
    precisions = [sum(first[: i + 1]) / (i + 1) for i in range(len(first)) if first[i]]
    return {
        "hit": float(any(first)),
        "recall": sum(first) / clicks,
        "precision": sum(first) / k,
        "map": sum(precisions) / min(clicks, k),
    }


def fast(impressions, k: int) -> dict[str, np.ndarray]:
    ranked = rank_impressions(*impressions)
    functions = {"hit": hit, "recall": recall, "precision": precision, "map": average_precision}
    return {name: function(ranked, k) for name, function in functions.items()}


@pytest.mark.parametrize("k", CUTOFFS)
def test_they_agree_with_their_definitions_written_plainly(many_impressions, k: int) -> None:
    """Ties, one class, more clicks than k, fewer candidates than k: each has its own trap."""
    evaluated = [(s, y) for s, y in many_impressions.split() if 0 < y.sum() < len(y)]
    expected = [slow(scores, labels, k) for scores, labels in evaluated]
    for name, values in fast(many_impressions, k).items():
        np.testing.assert_allclose(values, [each[name] for each in expected], **EXACT)


def test_they_agree_with_scikit_learn(ragged) -> None:
    """A reference that nobody here has written; it knows no ties and no cut-off, so none is met."""
    rng = np.random.default_rng(5)
    sizes = rng.integers(6, 40, 40)
    impressions = [(rng.permutation(size).astype(float), np.arange(size) < 3) for size in sizes]
    for k in (1, 3, 5):
        values = fast(ragged.of(*((s, y.astype(int)) for s, y in impressions)), k)
        chosen = [np.argsort(np.argsort(-scores)) < k for scores, _ in impressions]
        for place, (top, (_, clicked)) in enumerate(zip(chosen, impressions, strict=True)):
            assert values["recall"][place] == pytest.approx(recall_score(clicked, top))
            assert values["precision"][place] == pytest.approx(precision_score(clicked, top))
            assert values["hit"][place] == (clicked & top).any()
    whole = fast(ragged.of(*((s, y.astype(int)) for s, y in impressions)), 1000)["map"]
    expected = [label_ranking_average_precision_score([y], [s]) for s, y in impressions]
    np.testing.assert_allclose(whole, expected, **EXACT)


def recboles(scores: np.ndarray, labels: np.ndarray, *metrics: str) -> dict[str, float]:
    """What RecBole itself says of users (rows) who all have the same number of items."""
    patches.apply_to_libraries()  # RecBole's metrics use numpy's old names
    config = {
        "metrics": list(metrics),
        "topk": [1, 3, 5],
        "metric_decimal_place": 12,
        "eval_args": {"mode": "full"},
        "device": torch.device("cpu"),
    }
    padded = np.column_stack([scores, np.full(len(scores), -np.inf)])  # as its full ranking has
    collector = Collector(config)
    users, items = map(torch.from_numpy, np.nonzero(labels))
    collector.eval_batch_collect(torch.from_numpy(padded), Interaction({}), users, items)
    return dict(Evaluator(config).evaluate(collector.get_data_struct()))


def test_they_are_recboles_own_where_all_impressions_have_one_size(ragged) -> None:
    """Another divisor under the same name would make a table wrong beside published ones."""
    rng = np.random.default_rng(7)
    scores = rng.normal(size=(50, 12))
    labels = (rng.random((50, 12)) < 0.3).astype(int)
    labels[:, 0], labels[:, 1] = 1, 0  # RecBole keeps users without a click, we skip them
    expected = recboles(scores, labels, "Recall", "Hit", "Precision", "MAP")
    impressions = ragged.of(*zip(scores, labels, strict=True))
    found = {
        f"{name}@{k}": values.mean()
        for k in (1, 3, 5)
        for name, values in fast(impressions, k).items()
    }
    assert found == {name: pytest.approx(value, abs=1e-10) for name, value in expected.items()}


@pytest.mark.parametrize("function", [hit, recall, precision, average_precision])
def test_a_cut_off_below_one_is_refused(function) -> None:
    """At 0 everything would be 0, or NaN, without a word."""
    with pytest.raises(ValueError, match="at least 1, got 0"):
        function(rank_impressions([1, 2], [0, 1], [0, 2]), 0)
