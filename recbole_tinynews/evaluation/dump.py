"""Per-impression metrics as csv, for significance tests and error analysis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recbole_tinynews.evaluation.metrics import RankedImpressions, auc, mrr, ndcg
from recbole_tinynews.files.columns import IMPRESSION_ID
from recbole_tinynews.files.whole import whole_file


def write_eval_dump(
    path: str | Path,
    impression_ids: Sequence[str] | np.ndarray,
    ranked: RankedImpressions,
    topk: Iterable[int] = (5, 10),
    others: Mapping[str, NDArray[np.float64]] | None = None,
) -> None:
    """Write ``impression_id,auc,mrr,ndcg@k...``, unrounded; cells of skipped impressions are empty.

    ``impression_ids`` and, by column name, ``others`` are ``[impressions]``, in ranked order.
    """
    if len(impression_ids) != len(ranked.evaluated):
        raise ValueError(
            f"write_eval_dump expects {len(ranked.evaluated)} ids, one for each ranked impression, "
            f"got {len(impression_ids)}. Pass the ids of the split that was evaluated."
        )
    gains = {f"ndcg@{k}": ndcg(ranked, k) for k in topk}
    found = {"auc": auc(ranked), "mrr": mrr(ranked), **gains}
    columns = {name: ranked.of_all(values) for name, values in found.items()}
    table = pd.DataFrame({**columns, **(others or {}), **columns})  # ours win
    table.insert(0, IMPRESSION_ID, impression_ids)
    with whole_file(Path(path)) as place:
        table.to_csv(place, index=False, lineterminator="\n")
