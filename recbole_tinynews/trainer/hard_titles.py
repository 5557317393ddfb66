"""Hard negatives of post-training: the highest-scored wrong titles."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_tinynews.data.batch import plan_of
from recbole_tinynews.data.fields import CANDIDATES, HISTORY
from recbole_tinynews.encoder.planning import EncodingPlan
from recbole_tinynews.processes.group import gather_array
from recbole_tinynews.settings.protocol import Settings


def choose_titles(config: Settings, model: Any, interaction: Interaction) -> Interaction:
    """Under ``negative_titles: hard``, choose the hardest candidates, without random numbers."""
    if config["negative_titles"] == "hard":
        titles, together = interaction[CANDIDATES], _is_shared(interaction)
        places = hardest(model.present_scores(interaction), titles, config["negatives"])
        interaction[CANDIDATES] = titles.gather(1, places)
        if together:
            interaction.plan = _plan_of_all(model, interaction)
    return interaction


def _is_shared(interaction: Interaction) -> bool:
    """Whether processes share the batch's texts."""
    return getattr(plan_of(interaction), "counts", None) is not None


def _plan_of_all(model: Any, interaction: Interaction) -> EncodingPlan:
    """Plan for the titles chosen by all processes."""
    bodies, titles = (
        np.unique(gather_array(interaction[field].cpu().numpy().ravel()))
        for field in (HISTORY, CANDIDATES)
    )
    plan = model.news_encoder.planner(shared=True).plan(np.union1d(bodies, titles), titles)
    return plan.to(interaction[HISTORY].device)


def hardest(scores: Tensor, titles: Tensor, count: int) -> Tensor:
    """Indices ``[batch, 1 + count]`` of the own title and the highest-scored wrong ones.

    ``scores`` and ``titles`` (ids) are ``[batch, candidates]``, the own title first. Repeated
    titles are chosen only if there are too few others.

    >>> scores = torch.tensor([[0.0, 3.0, 5.0, 3.0, 4.0]])
    >>> hardest(scores, torch.tensor([[7, 1, 2, 1, 3]]), count=3)
    tensor([[0, 2, 4, 1]])
    """
    equal = titles.unsqueeze(2) == titles.unsqueeze(1)  # [batch, candidates, candidates]
    repeats = equal.tril(diagonal=-1).any(dim=2)
    wrong = scores.masked_fill(repeats, -torch.inf)[:, 1:]
    order = wrong.argsort(dim=1, descending=True, stable=True)[:, :count] + 1
    return torch.cat([torch.zeros_like(order[:, :1]), order], dim=1)
