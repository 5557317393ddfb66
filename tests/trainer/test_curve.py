from __future__ import annotations

from collections import namedtuple

import torch

from recbole_tinynews.trainer.losses import PendingLosses, as_terms

Pair = namedtuple("Pair", ["target", "embedding"])


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
