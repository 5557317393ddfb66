"""Test results of every size of a student that was trained for several, by ``load(layers=, dim=)``.

    python benchmarks/loaded_sizes.py FOLDER [FOLDER ...] --dataset=NAME --data_path=DIR
        [--results=DIR --alone=LAYERS=SYSTEM ...]

Each ``FOLDER`` is the artifact of one seed, trained with ``matryoshka_layers`` and
``matryoshka_dims``. ``--alone``: a system of the benchmark in ``DIR``, trained for so many layers
and whole vectors; every size of that depth is compared with it, seeds and users random, in AUC.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
import yaml

from recbole_tinynews.benchmark.impressions import impression_set, impressions_file, read_files
from recbole_tinynews.benchmark.results import RESULTS, ResultsFile
from recbole_tinynews.benchmark.significance import compare
from recbole_tinynews.data.atomic_files import TokenIndex, concatenate, read_impressions
from recbole_tinynews.evaluation import metrics
from recbole_tinynews.serving.loading import load
from recbole_tinynews.serving.news_table import read_news_file
from recbole_tinynews.serving.ranking import Ranker


class TestSet:
    """Test impressions as ids, and their articles."""

    def __init__(self, data_path: Path, dataset: str) -> None:
        at, items = data_path / dataset / dataset, TokenIndex()
        self.read = concatenate(read_impressions(Path(f"{at}.test.inter"), items, TokenIndex()))
        self.names = items.tokens()
        self.news = read_news_file(Path(f"{at}.item"))

    def values(self, ranker: Ranker) -> np.ndarray:
        """AUC and nDCG@10, ``[evaluated impressions, 2]``."""
        ranker.add_news(self.news)
        shown = self.read.candidates
        histories, candidates = (
            [self.names[rows.row(n)].tolist() for n in range(rows.rows)]
            for rows in (self.read.history, shown)
        )
        scores = np.empty(len(shown.values))
        for start, ranked in zip(
            shown.offsets, ranker.rank(histories, candidates, ids=True), strict=False
        ):
            scores[start + np.array([each.place for each in ranked])] = [e.score for e in ranked]
        found = metrics.rank_impressions(scores, self.read.labels, shown.offsets)
        return np.stack([metrics.auc(found), metrics.ndcg(found, 10)], axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--data_path", type=Path, required=True)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--alone", action="append", default=[])
    options = parser.parse_args()
    torch.set_num_threads(1)
    test = TestSet(options.data_path, options.dataset)
    found: dict[tuple[int, int], dict[int, np.ndarray]] = defaultdict(dict)
    for folder in options.folders:
        settings = yaml.safe_load((folder / "settings.yaml").read_text(encoding="utf-8"))
        layers = [*(settings["matryoshka_layers"] or []), settings["num_hidden_layers"]]
        dims = [*(settings["matryoshka_dims"] or []), settings["news_dim"]]
        for size in ((depth, dim) for depth in layers for dim in dims):
            ranker = load(folder, data_path=options.data_path, layers=size[0], dim=size[1])
            found[size][settings["seed"]] = test.values(ranker)
    alone = {int(depth): name for depth, _, name in (each.partition("=") for each in options.alone)}
    files: dict[str, dict[int, Path]] = defaultdict(dict)
    if options.results:
        for (system, seed, _), cells in ResultsFile(options.results / RESULTS).rows.items():
            if system in alone.values():
                files[system][seed] = impressions_file(
                    options.results, system, seed, cells["settings"]
                )
    values, clusters, _ = impression_set(read_files(files))
    pairs = [size for size in found if size[0] in alone]
    tested = compare(
        [
            np.stack([found[size][s][:, 0] - values[alone[size[0]]][s][:, 0] for s in found[size]])
            for size in pairs
        ],
        clusters,
    )
    against = dict(zip(pairs, tested, strict=True))
    print("| layers | entries | AUC | nDCG@10 | AUC against one trained for this depth alone |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    for (depth, dim), of_seeds in found.items():
        means = 100 * np.array([each.mean(axis=0) for each in of_seeds.values()])
        cells = [
            f"{m:.2f} ± {s:.2f}" for m, s in zip(means.mean(0), means.std(0, ddof=1), strict=True)
        ]
        pair = against.get((depth, dim))
        if pair is not None:
            low, high = (
                (pair.fixed_low, pair.fixed_high) if pair.low is None else (pair.low, pair.high)
            )
            cells.append(f"{100 * pair.difference:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]")
        print(f"| {depth} | {dim} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
