"""Where text and what is read now help: slices of a test set, and candidates without any click.

    python benchmarks/read_now.py WITH TEXT --dataset=ebnerd --data_path=DIR

WITH is a finished recommender with ``popularity``, TEXT the same without. Slices are those of the
clicked article (the first one) at the moment of its impression, and of the reader's history. Among
pairs of a clicked and an unclicked candidate of which nobody else has clicked either so far, the
share that is ordered rightly is averaged over the impressions that have such pairs.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.benchmark.significance import users_random
from recbole_tinynews.evaluation.metrics import auc, rank_impressions
from recbole_tinynews.pipeline.config import NewsConfig
from recbole_tinynews.pipeline.quick_start import prepared
from recbole_tinynews.pipeline.update import settings_of

QUIET = ("--use_gpu=False", "--show_progress=False")
HOURS = (0, 3, 24, np.inf)
CLICKS = (0, 1, 10, 100, np.inf)
HISTORY = (0, 10, 50, np.inf)


def scored(folder: Path, dataset: str, data_path: Path) -> tuple[NDArray, Any, NDArray, list[str]]:
    """Scores of all test candidates, the impressions, and counters by name if it has any."""
    _, given = settings_of(folder, None)
    given |= {"data_path": str(data_path)}
    config = NewsConfig("AlignedNewsRec", dataset, config_dict=given, command_line=QUIET)
    with prepared(config) as (run, stages):
        run.make(stages[0])
        trainer = run.factory.trainer(config, run.model(stages[0]))
        assert run.factory.test is not None
        loader = run.factory.impressions(config, run.factory.test)
        trainer.evaluate(loader, load_best_model=False, show_progress=False)
        shown = loader.impressions
        collected = trainer.eval_collector
        assert np.array_equal(collected.rows, np.arange(shown.rows))
        features = shown.features
        names = list(features.names) if features else []
        values = features.values if features else np.empty((0, 0))
        return collected.evaluated.scores, shown, values, names


def pairs_right(scores: NDArray, labels: NDArray, offsets: NDArray, kept: NDArray) -> NDArray:
    """Share of pairs of kept candidates in the right order, by impression; NaN without pairs."""
    found = np.full(len(offsets) - 1, np.nan)
    for row, (start, stop) in enumerate(itertools.pairwise(offsets)):
        here = kept[start:stop]
        of_row, clicked = scores[start:stop][here], labels[start:stop][here] == 1
        if clicked.any() and not clicked.all():
            ahead = of_row[clicked][:, None] - of_row[~clicked]
            found[row] = ((ahead > 0) + 0.5 * (ahead == 0)).mean()
    return found


def row(name: str, both: Sequence[NDArray], users: NDArray) -> str:
    """A line of the table: both means and the interval of their difference."""
    own, other = both
    kept = ~np.isnan(own)
    of_both = 100 * own[kept], 100 * other[kept]
    found = users_random((of_both[0] - of_both[1])[None], users[kept])[0]
    means = " | ".join(f"{each.mean():.2f}" for each in of_both)
    apart = f"{(of_both[0] - of_both[1]).mean():+.2f} [{found.low:+.2f}, {found.high:+.2f}]"
    return f"| {name} | {kept.sum():,} | {means} | {apart} |"


def between(name: str, values: NDArray, bounds: Sequence[float]) -> list[tuple[str, NDArray]]:
    """Slices ``low <= value < high``."""
    pairs = itertools.pairwise(bounds)
    return [
        (f"{name}: {low:g} to {high:g}", (low <= values) & (values < high)) for low, high in pairs
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs=2, type=Path, metavar="FOLDER")
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--data_path", required=True, type=Path)
    flags = parser.parse_args()
    own, shown, counters, names = scored(flags.folders[0], flags.dataset, flags.data_path)
    text, *_ = scored(flags.folders[1], flags.dataset, flags.data_path)
    labels, offsets = shown.labels, shown.candidates.offsets
    aucs = []
    for scores in (own, text):
        ranked = rank_impressions(scores, labels, offsets)
        aucs.append(ranked.of_all(auc(ranked)))
    clicked = np.flatnonzero(labels == 1)
    rows, first = np.unique(shown.candidates.rows_of(clicked), return_index=True)
    age, clicks = (np.full(shown.rows, np.nan) for _ in range(2))
    ever = names.index("clicks_ever")
    age[rows] = counters[clicked[first], names.index("age_hours")]
    clicks[rows] = counters[clicked[first], ever]
    print("| test impressions | number | with popularity | text alone | difference [95 %] |")
    print("| --- | --- | --- | --- | --- |")
    print(row("all", aucs, shown.user))
    history = shown.history.lengths
    for name, part in (
        *between("hours since the clicked article's first sight", age, HOURS),
        *between("clicks on the clicked article so far", clicks, CLICKS),
        *between("clicks in the history", history, HISTORY),
    ):
        print(row(name, [np.where(part, each, np.nan) for each in aucs], shown.user))
    unread = counters[:, ever] == 0
    print(
        row(
            "pairs of which neither has a click yet",
            [pairs_right(scores, labels, offsets, unread) for scores in (own, text)],
            shown.user,
        )
    )


if __name__ == "__main__":
    main()
