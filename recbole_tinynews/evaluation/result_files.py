"""Files of an evaluation: per-impression metrics as csv, and submissions to a leaderboard.

A submission is a zip with a single text file. Each line is ``<impression id> [r1,r2,...]``, without
spaces between ranks; impressions and candidates are in the order of the test set's behaviors, and
ranks are a permutation of 1..candidates, 1 = best.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recbole_tinynews.evaluation.metrics import (
    NaNScoreError,
    RankedImpressions,
    auc,
    candidate_ranks,
    mrr,
    ndcg,
)
from recbole_tinynews.files.columns import IMPRESSION_ID
from recbole_tinynews.files.progress import progress_bar
from recbole_tinynews.files.whole import whole_file

MIND, EBNERD = "mind", "ebnerd"
MEMBERS = {MIND: "prediction.txt", EBNERD: "predictions.txt"}  # by leaderboard
_BLOCK = 16_384  # impressions ranked and written at a time, to bound memory


class SubmissionError(ValueError):
    """A submission can't be written, or a leaderboard would reject it."""


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


def write_submission(
    path: str | Path,
    impression_ids: Sequence[str] | NDArray[np.str_],
    scores: NDArray[np.floating],
    offsets: NDArray[np.int64],
    show_progress: bool = False,
    leaderboard: str = MIND,
) -> None:
    """Rank the candidates of each impression, as the metrics do, and write the ranks.

    Equal scores make byte-identical files. ``leaderboard`` is a key of ``MEMBERS``;
    ``impression_ids`` ``[impressions]`` are in the order of the test set; ``scores`` ``[candidates
    in total]`` of impression i are ``offsets[i]:offsets[i + 1]``. Raises ``SubmissionError`` for a
    NaN, or white space in an id, ``ValueError`` for mismatched arrays, ``OSError`` if the file
    can't be written.
    """
    if len(impression_ids) != len(offsets) - 1 or offsets[-1] != len(scores):
        raise ValueError(
            "write_submission expects an id for each impression and a score for each candidate, "
            f"got {len(impression_ids)} ids for {len(offsets) - 1} impressions and {len(scores)} "
            f"scores for {offsets[-1]} candidates. Pass what was collected in one evaluation."
        )
    member = ZipInfo(MEMBERS[leaderboard])  # without a time, so that equal scores give equal files
    member.compress_type = ZIP_DEFLATED
    try:
        with (
            whole_file(Path(path)) as place,
            ZipFile(place, "w") as archive,
            archive.open(member, "w") as file,
            progress_bar(
                desc="Write submission",
                shown=show_progress,
                total=len(offsets) - 1,
                unit=" impressions",
            ) as progress,
        ):
            for start in range(0, len(impression_ids), _BLOCK):
                ids = list(map(str, impression_ids[start : start + _BLOCK]))
                bounds = offsets[start : start + _BLOCK + 1]
                block = scores[bounds[0] : bounds[-1]]
                file.write("".join(_lines(ids, block, bounds - bounds[0])).encode())
                progress.update(len(ids))
    except OSError as problem:
        raise OSError(f"The submission {path} could not be written: {problem}") from problem


def _lines(
    ids: list[str], scores: NDArray[np.floating], offsets: NDArray[np.int64]
) -> Iterator[str]:
    r"""The lines of some impressions.

    >>> list(_lines(["7", "8"], np.array([0.5, 0.5, 0.2, 0.1]), np.array([0, 3, 4])))
    ['7 [2,1,3]\n', '8 [1]\n']
    """
    try:
        ranks = candidate_ranks(scores, offsets).tolist()
    except NaNScoreError as error:
        raise SubmissionError(
            f"The model scored impression {ids[error.impression]} with NaN. {error}"
        ) from error
    bounds = offsets.tolist()
    for name, start, end in zip(ids, bounds[:-1], bounds[1:], strict=True):
        if name.split() != [name]:  # a line is split at white space
            raise SubmissionError(
                f"A submission expects impression ids without white space, got {name!r}. "
                "Give the test set the ids of MIND's behaviors.tsv."
            )
        yield f"{name} {str(ranks[start:end]).replace(' ', '')}\n"
