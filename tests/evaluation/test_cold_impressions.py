from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from recbole.evaluator import Evaluator

from recbole_tinynews.evaluation.collector import (
    ImpressionCollector,
    cold_impressions,
    struct_of,
)
from recbole_tinynews.evaluation.metrics import auc, rank_impressions
from recbole_tinynews.evaluation.recbole_metrics import register_metrics


@pytest.fixture
def shown() -> dict[str, Any]:
    """Impressions of 0 to 7 candidates, some of them without a click or without labels."""
    random = np.random.default_rng(11)
    sizes = random.integers(0, 8, 120)
    offsets = np.append(0, np.cumsum(sizes))
    labels = (random.random(offsets[-1]) < 0.3).astype(np.int8)
    for row in range(0, 120, 17):
        labels[offsets[row] : offsets[row + 1]] = -1
    return {
        "candidates": random.integers(1, 60, offsets[-1]),
        "labels": labels,
        "offsets": offsets,
    }


def cold_by_hand(shown: dict[str, Any], clicked_before: set[int]) -> list[bool]:
    cold = []
    for start, end in zip(shown["offsets"], shown["offsets"][1:], strict=False):
        clicked = [
            news
            for news, label in zip(
                shown["candidates"][start:end], shown["labels"][start:end], strict=True
            )
            if label == 1
        ]
        cold.append(bool(clicked) and not any(news in clicked_before for news in clicked))
    return cold


@pytest.mark.parametrize("clicked_before", [set(), {3}, set(range(1, 30)), set(range(60))])
def test_cold_impressions_are_those_of_a_plain_loop(shown, clicked_before: set[int]) -> None:
    """One click seen before makes an impression easy for a model that counts clicks."""
    found = cold_impressions(**shown, clicked_before=clicked_before)
    assert found.tolist() == cold_by_hand(shown, clicked_before)


def test_a_part_of_an_evaluation_has_the_keys_of_the_whole(shown) -> None:
    """The collector has impressions in the order of batches, not in that of the split."""
    register_metrics()
    config = {
        "metrics": ["ImpressionAUC", "ImpressionNDCG", "ImpressionCount"],
        "topk": [5],
        "metric_decimal_place": 4,
        "eval_args": {"mode": {"valid": "labeled", "test": "labeled"}},
        "device": torch.device("cpu"),
        "LABEL_FIELD": "label",
    }
    collector, evaluator = ImpressionCollector(config), Evaluator(config)
    collector.impressions = SimpleNamespace(user=np.arange(120))
    scores = torch.randn(len(shown["labels"]), generator=torch.Generator().manual_seed(1))
    sizes = np.diff(shown["offsets"])
    order = np.arange(len(sizes))[::-1]
    for row in order:
        span = slice(shown["offsets"][row], shown["offsets"][row + 1])
        batch = {
            "label": torch.from_numpy(shown["labels"][span].astype(np.float32)),
            "impression_size": torch.tensor([sizes[row]]),
            "impression": torch.tensor([row]),
        }
        collector.eval_batch_collect(scores[span], batch, None, None)
    whole = evaluator.evaluate(collector.get_data_struct())
    kept = cold_impressions(**shown, clicked_before=set(range(1, 20)))
    part = evaluator.evaluate(struct_of(collector.evaluated.only(kept[collector.rows])))
    assert part.keys() == whole.keys()
    rows = np.repeat(kept, sizes)
    offsets = np.append(0, np.cumsum(sizes[kept])).astype(int)
    alone = rank_impressions(scores.numpy()[rows], shown["labels"][rows], offsets)
    assert part["auc"] == pytest.approx(auc(alone).mean(), abs=1e-4)
    assert part["impressions"] == len(alone.clicked)
