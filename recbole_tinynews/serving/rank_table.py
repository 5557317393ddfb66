"""Ranking for a table of users: pandas in, pandas out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

USER, HISTORY, CANDIDATES = "user_id", "history", "candidates"
CANDIDATE, SCORE, RANK = "candidate", "score", "rank"
EMPTY = pd.DataFrame(columns=[USER, CANDIDATE, SCORE, RANK])


def rank_table(ranker: Any, users: pd.DataFrame, top: int | None = None) -> pd.DataFrame:
    """Rank articles for each row of a table of users (in a cluster: docs/scale.md).

    Args:
        ranker: the recommender, with all articles added.
        users: columns ``user_id``, ``history`` and perhaps ``candidates``; without the last, every
            added article except those clicked is ranked. Lists of news ids, histories oldest
            first, or strings of ids separated by spaces; missing: none.
        top: number of candidates to keep; ``None``: all.

    Returns columns ``user_id``, ``candidate``, ``score`` and ``rank`` (from 1), best first; a user
    without candidates has no row. Raises ``ValueError``: missing column, unknown id, ``top`` < 1.
    """
    if missing := [name for name in (USER, HISTORY) if name not in users.columns]:
        raise ValueError(
            f"rank_table expects users with the columns {USER} and {HISTORY}, which lack "
            f"{', '.join(missing)} and have {', '.join(map(str, users.columns))}."
        )
    if top is not None and top < 1:
        raise ValueError(f"rank_table expects top of at least 1, got {top}.")
    ranked: list[Any] = []
    shown = users[CANDIDATES].map(ids_of) if CANDIDATES in users.columns else None
    if shown is not None:
        users = users[shown.map(len) > 0]
    histories = [*users[HISTORY].map(ids_of)]
    if histories and shown is not None:
        ranked = [
            best[:top] for best in ranker.rank(histories, [ids for ids in shown if ids], ids=True)
        ]
    elif histories:
        ranked = ranker.top(histories, top or len(ranker.news_ids), ids=True)
    rows = [
        (user, candidate.candidate, candidate.score, rank)
        for user, best in zip(users[USER], ranked, strict=True)
        for rank, candidate in enumerate(best, start=1)
    ]
    return pd.DataFrame(rows, columns=EMPTY.columns).astype({SCORE: np.float32, RANK: np.int64})


def ids_of(cell: Any) -> list[str]:
    """Ids in a cell: a list, an array or a string separated by spaces; none if missing."""
    if isinstance(cell, str):
        return cell.split()
    if cell is None or (isinstance(cell, float) and np.isnan(cell)) or cell is pd.NA:
        return []
    return [str(each) for each in cell]
