from __future__ import annotations

import io
import json
from collections import namedtuple

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import Tiny

from recbole_tinynews.trainer import losses as curves
from recbole_tinynews.trainer.losses import PendingLosses, TrainingCurve, as_terms

Pair = namedtuple("Pair", ["target", "embedding"])


def train(made: TrainingCurve, first: int, last: int) -> TrainingCurve:
    """Two batches a step, whose losses are known by their step."""
    for step in range(first, last + 1):
        made.add_batch(Pair(float(step), 10.0))
        made.add_batch(Pair(step + 0.5, 20.0))
        made.add_step(step)
    return made


def test_no_batch_is_left_out_of_the_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    """A point that shows one batch only would hide a spike in the next."""
    monkeypatch.setattr(curves, "POINTS", 3)
    made = train(TrainingCurve(7), 1, 7)
    assert [row["step"] for row in made.losses] == [3, 6]
    made.close(7)
    made.close(7)  # nothing is left to show
    assert made.losses == [
        {"step": 3, "train_loss": 17.25, "target_loss": 2.25, "embedding_loss": 15.0},
        {"step": 6, "train_loss": 20.25, "target_loss": 5.25, "embedding_loss": 15.0},
        {"step": 7, "train_loss": 22.25, "target_loss": 7.25, "embedding_loss": 15.0},
    ]


@pytest.mark.parametrize("steps", [1, 199, 200, 201, 399, 5001])
def test_a_curve_neither_grows_with_the_training_nor_ends_before_it(steps: int) -> None:
    """It is saved with each state: a point for every step would be megabytes each time."""
    made = train(TrainingCurve(steps), 1, steps)
    made.close(steps)
    assert min(steps, 100) <= len(made.losses) <= 200
    assert made.losses[-1]["step"] == steps


def test_a_curve_resumes_within_a_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """A state saved between two points must not lose the batches since the last one."""
    monkeypatch.setattr(curves, "POINTS", 2)
    whole = train(TrainingCurve(9), 1, 9)
    for saved_at in range(1, 9):
        saved = train(TrainingCurve(9), 1, saved_at).as_dict()
        resumed = TrainingCurve(9, **json.loads(json.dumps(saved)))
        assert train(resumed, saved_at + 1, 9).losses == whole.losses


def test_losses_that_come_and_go_do_not_end_a_training() -> None:
    """A model may start without one of its losses; each is averaged over batches that have it."""
    made = TrainingCurve(1)
    made.add_batch(as_terms(2.0))
    made.add_batch(Pair(3.0, 1.0))
    made.close(1)
    assert made.losses == [{"step": 1, "train_loss": 3.0, "target_loss": 3.0, "embedding_loss": 1}]


def test_the_table_is_one_that_pandas_reads_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not have two lines for a step, counts among metrics, or 0 for no measurement."""
    monkeypatch.setattr(curves, "POINTS", 2)
    made = train(TrainingCurve(4), 1, 2)
    made.add_validation(2, {"auc": np.float64(0.1) * 3, "impressions": 12, "skipped": 2})
    train(made, 3, 3)
    made.add_validation(3, {"auc": 0.5, "impressions": 12, "skipped": 2})
    train(made, 4, 4)
    text = io.StringIO(made.as_csv())
    read = pd.read_csv(text, dtype=str).astype(float).set_index("step")  # exact in any pandas
    assert list(read.columns) == ["train_loss", "target_loss", "embedding_loss", "auc"]
    assert list(read.index) == [2, 3, 4]
    assert read["target_loss"].dropna().to_dict() == {2: 1.75, 4: 3.75}
    assert read["auc"].dropna().to_dict() == {2: 0.1 * 3, 3: 0.5}
    assert TrainingCurve(4).as_csv() == "step\n"


def test_a_training_is_recorded_as_it_was(tiny: Tiny) -> None:
    """Each loss by name and the metrics of each validation, at the steps that they belong to."""
    world = tiny.world("TinyNewsRec", max_steps=None, epochs=2, eval_steps=3)
    trainer = world.trainer()
    torch.manual_seed(0)
    _, best = trainer.fit(world.clicks(), world.impressions())
    recorded = trainer.curve.losses, trainer.curve.metrics
    losses, metrics = (pd.DataFrame(rows).set_index("step") for rows in recorded)
    assert list(losses.index) == list(range(1, 11))
    names = ["train_loss", "distillation_loss", "embedding_loss", "target_loss"]
    assert list(losses.columns) == names
    np.testing.assert_allclose(losses[names[1:]].sum(axis=1), losses["train_loss"], rtol=1e-12)
    for number, mean in trainer.train_loss_dict.items():  # a step is a batch here
        shown = losses["train_loss"].loc[3 * number + 1 : 3 * number + 3]
        assert shown.mean() == pytest.approx(mean, rel=1e-12)
    assert list(metrics.index) == [3, 6, 9, 10]
    assert list(metrics.columns) == ["auc", "mrr", "ndcg@5", "ndcg@10"]
    assert metrics["auc"].max() == best["auc"] == trainer.best_valid_score


def test_the_last_steps_of_a_training_are_shown_too(tiny: Tiny, monkeypatch) -> None:
    """A training may end between two points, at any step with early stopping."""
    monkeypatch.setattr(curves, "POINTS", 2)
    world = tiny.world(max_steps=5)
    trainer = world.trainer()
    trainer.fit(world.clicks())
    assert [row["step"] for row in trainer.curve.losses] == [3, 5]


def test_losses_are_kept_without_the_graph_that_they_came_from() -> None:
    """Each kept tensor would hold its batch's activations, until memory runs out."""
    weight = torch.ones((), requires_grad=True)
    pending = PendingLosses()
    given = as_terms(weight * 2), as_terms((weight, weight * 2)), Pair(weight, weight * 3)
    for step, losses in enumerate(given, start=1):
        pending.add(step, losses)
    assert not any(losses.requires_grad for _, _, losses in pending._batches)
    read = pending.read()
    assert read == [(1, (2.0,)), (2, (1.0, 2.0)), (3, Pair(1.0, 3.0))]
    assert type(read[2][1]) is Pair
    assert [type(part) for part in read[2][1]] == [float, float]
    assert pending.read() == []
