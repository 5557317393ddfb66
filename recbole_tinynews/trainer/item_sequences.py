"""Scores of RecBole's sequential models, with one pass per distinct history."""

from __future__ import annotations

from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender, SequentialRecommender
from torch import Tensor

AT_ONCE = 256  # histories per pass


def reads_sequence_alone(model: Any) -> bool:
    """Whether a model encodes the history without the candidate (unlike DIN)."""
    ranks_all = type(model).full_sort_predict is not AbstractRecommender.full_sort_predict
    return isinstance(model, SequentialRecommender) and ranks_all


def scores_by_sequence(model: Any, interaction: Interaction) -> Tensor:
    """As ``predict`` (not for CORE and SHAN), ``[rows]``, with one pass per distinct history."""
    items = interaction[model.ITEM_ID]
    read = (model.USER_ID, model.ITEM_SEQ_LEN, model.ITEM_SEQ)
    rows = torch.column_stack([interaction[field] for field in read])
    distinct, history = torch.unique(rows, dim=0, return_inverse=True)
    row = torch.empty(len(distinct), dtype=torch.long, device=items.device)
    row[history] = torch.arange(len(items), device=items.device)  # any row with that history
    shown = Interaction(
        {f: v[row] for f, v in interaction.interaction.items() if len(v) == len(rows)}
    )
    scores = torch.empty(len(items), device=items.device)
    for start in range(0, len(distinct), AT_ONCE):
        part = shown[start : start + AT_ONCE]
        of_all = model.full_sort_predict(part).reshape(len(part), -1)  # [histories, items]
        asked = (history >= start) & (history < start + AT_ONCE)
        scores[asked] = of_all[history[asked] - start, items[asked]].to(scores.dtype)
    return scores
