"""Ranking for a table of users: pandas in, pandas out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

USER, HISTORY, CANDIDATES = "user_id", "history", "candidates"
CANDIDATE, SCORE, RANK = "candidate", "score", "rank"
EMPTY = pd.DataFrame(columns=[USER, CANDIDATE, SCORE, RANK])
ALL = "all"


def rank_table(
    ranker: Any,  # a Ranker, which imports this file
    users: pd.DataFrame,
    candidates: str | None = None,
    top: int | None = None,
) -> pd.DataFrame:
    """Rank candidates for each row of a table of users (in a cluster: docs/scale.md).

    Args:
        ranker: the recommender, with all articles added.
        users: columns ``user_id`` and ``history``: a list of news ids, oldest first, or a string
            of ids separated by spaces. Missing: no clicks.
        candidates: ``all``: every added article except those clicked; ``None``: a column
            ``candidates`` of ``users``.
        top: number of candidates to keep; ``None``: all.

    Returns columns ``user_id``, ``candidate``, ``score`` and ``rank`` (from 1), best first; a user
    without candidates has no row. Raises ``ValueError``: missing column, unknown id, ``top`` < 1.
    """
    needed = [USER, HISTORY, *([CANDIDATES] if candidates is None else [])]
    if missing := [name for name in needed if name not in users.columns]:
        raise ValueError(
            f"rank_table expects users with the columns {', '.join(needed)}, which lack "
            f"{', '.join(missing)} and have {', '.join(map(str, users.columns))}."
        )
    if top is not None and top < 1:
        raise ValueError(f"rank_table expects top of at least 1, got {top}.")
    if candidates is not None and not (isinstance(candidates, str) and candidates == ALL):
        given = repr(candidates) if isinstance(candidates, str) else type(candidates).__name__
        raise ValueError(
            f"rank_table expects 'all' or no candidates, got {given:.100}. Give users theirs in "
            f"a column {CANDIDATES}."
        )
    if not ranker.news_ids:
        raise ValueError("rank_table expects ids of added articles, and there are none: add_news.")
    ranked: list[Any] = []
    if candidates is None:
        shown = users[CANDIDATES].map(ids_of)
        has_candidates = (shown.map(len) > 0).to_numpy()
        users, shown = users[has_candidates], [*shown[has_candidates]]
    histories = [*users[HISTORY].map(ids_of)]
    if histories and candidates is None:
        ranked = [best[:top] for best in ranker.rank(histories, shown)]
    elif histories:
        ranked = ranker.top(histories, top or len(ranker.news_ids))
    every = [candidate for best in ranked for candidate in best]
    lengths = [*map(len, ranked)]
    return pd.DataFrame(
        {
            USER: users[USER].repeat(lengths).reset_index(drop=True),
            CANDIDATE: [candidate.candidate for candidate in every],
            SCORE: np.array([candidate.score for candidate in every], np.float32),
            RANK: np.array([rank for n in lengths for rank in range(1, 1 + n)], np.int64),
        }
    )


def ids_of(cell: Any) -> list[str]:
    """Ids in a cell: a list, an array or a string separated by spaces; none if missing."""
    if isinstance(cell, str):
        return cell.split()
    if cell is None or (isinstance(cell, float) and np.isnan(cell)) or cell is pd.NA:
        return []
    return [str(each) for each in cell]
