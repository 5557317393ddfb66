"""Ranking for a table of users: pandas in, pandas out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

USER, HISTORY, CANDIDATES = "user_id", "history", "candidates"
CANDIDATE, SCORE, RANK = "candidate", "score", "rank"
EMPTY = pd.DataFrame(columns=[USER, CANDIDATE, SCORE, RANK])
ALL = "all"


def rank_table(
    ranker: Any,  # a Ranker, which imports this file
    users: pd.DataFrame,
    candidates: pd.DataFrame | str | None = None,
    top: int | None = None,
) -> pd.DataFrame:
    """Rank candidates for each row of a table of users (in a cluster: docs/scale.md).

    Args:
        ranker: the recommender.
        users: columns ``user_id`` and ``history``: a list of news ids, oldest first, or a string
            of ids separated by spaces. Missing: no clicks.
        candidates: a DataFrame with columns ``user_id`` and ``candidate``; ``all``: every added
            article except those clicked; ``None``: a column ``candidates`` of ``users``.
        top: number of candidates to keep; ``None``: all.

    Returns columns ``user_id``, ``candidate``, ``score`` and ``rank`` (from 1), best first; a user
    without candidates has no row. Raises ``ValueError``: missing column, unknown id, ``top`` < 1.
    """
    expect_columns(users, "users", [USER, HISTORY, *([CANDIDATES] if candidates is None else [])])
    if top is not None and top < 1:
        raise ValueError(f"rank_table expects top of at least 1, got {top}.")
    histories = [ids_of(each) for each in users[HISTORY]]
    if isinstance(candidates, str):
        if candidates != ALL:
            raise ValueError(
                f"rank_table expects a table or 'all' as candidates, got {candidates!r}."
            )
        every = len(ranker.news_ids)
        best = list(ranker.top_rows(histories, top or max(every, 1), ids=True))
        return _flat(users[USER], [each.ids for each in best], [each.scores for each in best])
    if candidates is None:
        shown = [ids_of(each) for each in users[CANDIDATES]]
    else:
        shown = _own_candidates(users[USER].tolist(), candidates)
    asked = [row for row, each in enumerate(shown) if each]
    to_rank = [histories[row] for row in asked], [shown[row] for row in asked]
    ranked = ranker.rank(*to_rank, ids=True) if asked else []
    best_of_each = [each[:top] for each in ranked]
    return _flat(
        users[USER].iloc[asked],
        [[candidate for candidate, _, _ in best] for best in best_of_each],
        [np.array([score for _, score, _ in best], np.float32) for best in best_of_each],
    )


def _flat(
    users: pd.Series, candidates: list[list[str]], scores: list[NDArray[np.float32]]
) -> pd.DataFrame:
    lengths = [len(each) for each in candidates]
    return pd.DataFrame(
        {
            USER: users.repeat(lengths).reset_index(drop=True),
            CANDIDATE: [each for of_user in candidates for each in of_user],
            SCORE: np.concatenate([np.empty(0, np.float32), *scores]),
            RANK: np.concatenate([np.empty(0, np.int64), *(np.arange(1, 1 + n) for n in lengths)]),
        }
    )


def _own_candidates(users: list[Any], table: pd.DataFrame) -> list[list[str]]:
    expect_columns(table, "candidates", [USER, CANDIDATE])
    named = table.assign(**{CANDIDATE: table[CANDIDATE].astype(str)})
    by_user = named.groupby(USER, sort=False)[CANDIDATE].agg(list).to_dict()
    strangers = by_user.keys() - set(users)
    if strangers:
        raise ValueError(
            f"rank_table expects candidates of the users in the table of users, got "
            f"{sorted(map(str, strangers))[0]!r}, who is not there."
        )
    return [by_user.get(each, []) for each in users]


def ids_of(cell: Any) -> list[str]:
    """Ids in a cell: a list, an array or a string separated by spaces; none if missing."""
    if isinstance(cell, str):
        return cell.split()
    if cell is None or (isinstance(cell, float) and np.isnan(cell)) or cell is pd.NA:
        return []
    return [str(each) for each in cell]


def expect_columns(table: pd.DataFrame, what: str, expected: list[str]) -> None:
    """Raise ``ValueError`` if a column is missing; ``what`` names the table."""
    missing = [name for name in expected if name not in table.columns]
    if missing:
        raise ValueError(
            f"rank_table expects {what} with the columns {', '.join(expected)}, which lack "
            f"{', '.join(missing)} and have {', '.join(map(str, table.columns))}."
        )
