"""Results of every size of a student that was trained for several, by ``load(layers=, dim=)``.

    python benchmarks/loaded_sizes.py FOLDER [FOLDER ...] --dataset=NAME --data_path=DIR
        [--against FOLDER ...] [--results=RESULTS] [--part=valid] [--layers 2 ...]

Each ``FOLDER`` is the artifact of one seed, trained with ``matryoshka_layers`` and
``matryoshka_dims``. Those of ``--against`` were trained for one depth, and for whole vectors or
one of ``matryoshka_dims`` beside them, which is the size they are tested at. RESULTS is a folder of
``run_benchmark.py --suite=sizes`` on the same test impressions, whose students of whole vectors
stand for folders that are not kept. Sizes are compared in AUC with those of their own depth and
entries, and with whole vectors of their depth: users random, from three seeds on also with seeds
random, which interval comes first.
"""

from __future__ import annotations

import argparse
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
import yaml

from recbole_tinynews.benchmark.impressions import impressions_file, read_impression_metrics
from recbole_tinynews.benchmark.results import METRICS, RESULTS, ResultsFile
from recbole_tinynews.benchmark.significance import compare
from recbole_tinynews.data.atomic_files import TokenIndex, concatenate, read_impressions
from recbole_tinynews.evaluation import metrics
from recbole_tinynews.serving.loading import load
from recbole_tinynews.serving.news_table import read_news_file
from recbole_tinynews.serving.ranking import Ranker

Size = tuple[int, int]  # layers, entries
Values = dict[Size, dict[int, np.ndarray]]  # by seed


class Part:
    """Impressions of a part of a data set as ids, and their articles."""

    def __init__(self, data_path: Path, dataset: str, part: str) -> None:
        at, items = data_path / dataset / dataset, TokenIndex()
        self.read = concatenate(read_impressions(Path(f"{at}.{part}.inter"), items, TokenIndex()))
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
        self.users = self.read.user[found.evaluated]
        return np.stack([metrics.auc(found), metrics.ndcg(found, 10)], axis=1)


def sizes_of(folder: Path) -> tuple[int, list[int], list[int], int]:
    """Seed, depths, prefixes and entries of the whole vectors that an artifact was trained for."""
    read = yaml.safe_load((folder / "settings.yaml").read_text(encoding="utf-8"))
    depths = [*(read.get("matryoshka_layers") or []), read["num_hidden_layers"]]
    return read["seed"], depths, read.get("matryoshka_dims") or [], read["news_dim"]


def results_of(folder: Path, whole: int) -> Values:
    """AUC and nDCG@10 of a benchmark's students, as if they had been loaded."""
    columns = [METRICS.index("auc"), METRICS.index("ndcg@10")]
    read: Values = defaultdict(dict)
    for (system, seed, _), cells in ResultsFile(folder / RESULTS).rows.items():
        if size := re.fullmatch(r"ZeroShotStudent_(\d+)", system):
            file = impressions_file(folder, system, seed, cells["settings"])
            values = read_impression_metrics(file).values
            read[int(size[1]), whole][int(seed)] = values[~np.isnan(values[:, 0])][:, columns]
    return read


def against(found: Values, other: Values, size: Size, dim: int, users: np.ndarray) -> str:
    """Difference in AUC of ``size`` and another student of its depth with ``dim`` entries."""
    mine, theirs = found[size], other.get((size[0], dim), {})
    if not (seeds := sorted(mine.keys() & theirs.keys())):
        return ""
    (pair,) = compare([np.stack([mine[s][:, 0] - theirs[s][:, 0] for s in seeds])], users)
    fixed = f"[{100 * pair.fixed_low:+.2f}, {100 * pair.fixed_high:+.2f}]"
    if pair.low is None or pair.high is None:
        return f"{100 * pair.difference:+.2f} {fixed}"
    every = f"[{100 * pair.low:+.2f}, {100 * pair.high:+.2f}]"
    return f"{100 * pair.difference:+.2f} {every}, seeds fixed {fixed}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--data_path", type=Path, required=True)
    parser.add_argument("--against", type=Path, nargs="*", default=[])
    parser.add_argument("--results", type=Path)
    parser.add_argument("--part", choices=("test", "valid"), default="test")
    parser.add_argument("--layers", type=int, nargs="*", help="of these depths alone")
    options = parser.parse_args()
    if options.results and options.part != "test":
        parser.error("--results are of test impressions. Leave out --part=valid, or --results")
    torch.set_num_threads(1)
    shown = Part(options.data_path, options.dataset, options.part)
    found: Values = defaultdict(dict)
    alone: Values = defaultdict(dict)
    whole = 0

    def measure(folder: Path, seed: int, size: Size, into: Values) -> None:
        ranker = load(folder, data_path=options.data_path, layers=size[0], dim=size[1])
        into[size][seed] = shown.values(ranker)

    for folder in options.folders:
        seed, depths, dims, whole = sizes_of(folder)
        if unknown := set(options.layers or ()) - {*depths}:
            parser.error(f"--layers expects some of {depths}, got {sorted(unknown)}")
        for size in ((depth, dim) for depth in options.layers or depths for dim in [*dims, whole]):
            measure(folder, seed, size, found)
    if options.results:
        alone |= results_of(options.results, whole)
    for folder in options.against:
        seed, (depth,), dims, entries = sizes_of(folder)
        measure(folder, seed, (depth, dims[0] if dims else entries), alone)
    print("| layers | entries | AUC | nDCG@10 | against this size alone | against whole vectors |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for (depth, dim), of_seeds in found.items():
        means = 100 * np.array([each.mean(axis=0) for each in of_seeds.values()])
        spread = means.std(0, ddof=1) if len(means) > 1 else None
        cells = [f"{mean:.2f}" for mean in means.mean(0)]
        if spread is not None:
            cells = [f"{cell} ± {of:.2f}" for cell, of in zip(cells, spread, strict=True)]
        cells += [against(found, alone, (depth, dim), each, shown.users) for each in (dim, whole)]
        print(f"| {depth} | {dim} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
