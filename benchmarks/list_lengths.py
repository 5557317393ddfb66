"""How well recommenders rank lists of other lengths than those that they were trained on.

    python benchmarks/list_lengths.py --suite=time --systems=LABEL,LABEL --dataset=ebnerd

Rows are those of a suite, trained first where they are not. To
each of some test impressions of 11 candidates with one click come articles that were shown to
somebody in the 24 hours before it, drawn from a seed. Each list is scored anew. ``own`` is the AUC
among the candidates that the reader was shown. ``all`` is the share of the whole list that the
click is ahead of, although nobody knows whether the reader would have clicked the others.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from measure import finish
from numpy.typing import NDArray

from recbole_tinynews.benchmark.benchmark import Benchmark
from recbole_tinynews.benchmark.planning import model_class_of
from recbole_tinynews.data.atomic_files import concatenate
from recbole_tinynews.data.impressions import UNLABELLED, Impressions
from recbole_tinynews.data.popularity import popularity_features, wanted_counters
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.pipeline.config import NewsConfig
from recbole_tinynews.pipeline.quick_start import prepared

SEED = 2020  # of the trained recommenders
SETTINGS = "data_path", "plm", "use_cache", "checkpoint_dir"
SHOWN = 11  # candidates of the chosen impressions
LENGTHS = (5, SHOWN, 50, 300, None)  # candidates; None: all that are live
LIVE = 24 * 3600  # seconds
CANDIDATES_AT_ONCE = 20_000


class Lists(NamedTuple):
    """Lists that begin with a click, and how many candidates of each the reader was shown."""

    shown: Impressions
    own: NDArray[np.int64]


def lists_of(log: Impressions, rows: NDArray, length: int | None, seed: int) -> Lists:
    """The impressions of these rows of the log, cut to a length or filled up with live articles."""
    order = np.argsort(log.timestamp, kind="stable")
    times, candidates, own = log.timestamp[order], [], []
    for row in rows:
        draw = np.random.default_rng([seed, row])
        start, stop = log.candidates.offsets[row : row + 2]
        articles, labels = log.candidates.values[start:stop], log.labels[start:stop]
        click, others = articles[labels == 1], draw.permutation(articles[labels != 1])
        others = others[: None if length is None else length - 1]
        now = log.timestamp[row]
        before = order[np.searchsorted(times, now - LIVE) : np.searchsorted(times, now)]
        live = np.setdiff1d(log.candidates.take(before).values, articles)
        missing = len(live) if length is None else max(0, length - 1 - len(others))
        candidates.append(np.concatenate([click, others, draw.permutation(live)[:missing]]))
        own.append(1 + len(others))
    ragged = Ragged.from_rows(candidates, np.int32)
    shown = Impressions(
        log.impression_id[rows],
        log.user[rows],
        log.timestamp[rows],
        log.history.take(rows),
        ragged,
        np.full(len(ragged.values), UNLABELLED, np.int8),
    )
    return Lists(shown, np.array(own))


def with_counters(log: Impressions, shown: Impressions, config: Any, published: Any) -> Impressions:
    """The lists with what was counted before each of them; they are no events themselves."""
    counting = wanted_counters(config)
    if counting is None:
        return shown
    both = concatenate([log, shown])
    features = popularity_features(both, replace(counting, stream=False), log.rows, published)
    return both._replace(features=features).between(log.rows, both.rows)


def batches(shown: Impressions) -> Iterator[NDArray[np.int64]]:
    """Rows of a batch's impressions."""
    ends = np.cumsum(shown.candidates.lengths) // CANDIDATES_AT_ONCE
    return iter(np.split(np.arange(shown.rows), np.flatnonzero(np.diff(ends)) + 1))


def measured(planned: Any, dataset: str, impressions: int, seed: int) -> list[tuple[float, float]]:
    """Both shares for each length of lists."""
    given = {**planned.settings, "seed": SEED, "use_gpu": False, "show_progress": False}
    config = NewsConfig(model_class_of(planned.row.model), dataset, config_dict=given)
    found = []
    with prepared(config) as (run, stages):
        for stage in stages:
            run.make(stage)
        model, test = run.model(stages[-1]).eval(), run.factory.test
        assert test is not None
        log, loader = test.log, run.factory.impressions(config, test)
        clicks = np.bincount(log.candidates.rows_of(np.flatnonzero(log.labels == 1)))
        fits = np.flatnonzero((clicks == 1) & (log.candidates.lengths == SHOWN))
        fits = fits[fits >= log.rows - test.inter_feat.rows]
        rows = np.sort(np.random.default_rng(seed).permutation(fits)[:impressions])
        for length in LENGTHS:
            lists = lists_of(log, rows, length, seed)
            loader.impressions = with_counters(log, lists.shown, config, test.published)
            found.append(shares(scores_of(model, loader), lists))
    return found


@torch.no_grad()
def scores_of(model: Any, loader: Any) -> NDArray:
    """Scores of all candidates of all lists."""
    parts = [
        model.predict(loader.collate_impressions(rows)) for rows in batches(loader.impressions)
    ]
    return torch.cat(parts).numpy()


def shares(scores: NDArray, lists: Lists) -> tuple[float, float]:
    """How often the click is ahead of others, among the reader's own candidates and among all."""
    own, every = [], []
    for part, size in zip(
        np.split(scores, lists.shown.candidates.offsets[1:-1]), lists.own, strict=True
    ):
        ahead = (part[0] > part[1:]) + 0.5 * (part[0] == part[1:])
        own.append(ahead[: size - 1].mean())
        every.append(ahead.mean())
    return 100 * float(np.mean(own)), 100 * float(np.mean(every))


def main() -> None:
    """Print a table with a row for each recommender."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--suite", default="time")
    parser.add_argument("--systems", required=True)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--impressions", type=int, default=2_000)
    parser.add_argument("--draw", type=int, default=1, help="seed of impressions and articles")
    for name in SETTINGS:
        parser.add_argument(f"--{name}", help="a setting, as in a benchmark")
    given = parser.parse_args()
    settings = {name: value for name in SETTINGS if (value := getattr(given, name)) is not None}
    suite = Benchmark(given.suite, given.dataset, [SEED], given.systems.split(","), settings)
    heads = ["all live" if length is None else str(length) for length in LENGTHS]
    print(f"| own / all, AUC in percent | {' | '.join(heads)} |")
    print(f"| --- |{' ---: |' * len(heads)}")
    figures = {}
    for planned in suite.asked:
        found = measured(planned, given.dataset, given.impressions, given.draw)
        cells = " | ".join(f"{own:.2f} / {every:.2f}" for own, every in found)
        print(f"| {planned.row.label} | {cells} |", flush=True)
        figures[planned.row.label] = dict(zip(heads, (own for own, _ in found), strict=True))
    finish("list lengths", {"impressions": given.impressions, **figures})


if __name__ == "__main__":
    main()
