"""Results of every size of a student that was trained for several, by ``load(layers=, dim=)``.

    python benchmarks/loaded_sizes.py FOLDER [FOLDER ...] --dataset=NAME --data_path=DIR
        [--against FOLDER ...] [--results=RESULTS] [--part=valid] [--layers 2 ...] [--values=FILE]
    python benchmarks/loaded_sizes.py --values=FILE

Each ``FOLDER`` is the artifact of one seed, trained with ``matryoshka_layers`` and
``matryoshka_dims``. Those of ``--against`` were trained for one depth, and for whole vectors or
one of ``matryoshka_dims`` beside them, which is the size they are tested at. RESULTS is a folder of
``run_benchmark.py --suite=sizes`` on the same test impressions, whose students of whole vectors
stand for folders that are not kept. Sizes are compared in AUC with those of their own depth and
entries, and with whole vectors of their depth: users random, from three seeds on also with seeds
random, which interval comes first. FILE keeps the values of each impression, from which the second
command prints the table again.
"""

from __future__ import annotations

import argparse
import re
from collections import defaultdict
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
import yaml

from recbole_tinynews.benchmark.results import (
    METRICS,
    RESULTS,
    ResultsFile,
    impressions_file,
    read_impression_metrics,
)
from recbole_tinynews.benchmark.significance import compare
from recbole_tinynews.data.atomic_files import (
    Indices,
    concatenate,
    read_impressions,
    read_news_file,
)
from recbole_tinynews.evaluation import metrics
from recbole_tinynews.serving.loading import load
from recbole_tinynews.serving.ranker import Ranker

Size = tuple[int, int]  # layers, entries
Values = dict[Size, dict[int, np.ndarray]]  # by seed


class Part:
    """Impressions of a part of a data set as ids, and their articles."""

    def __init__(self, data_path: Path, dataset: str, part: str) -> None:
        at, indices = data_path / dataset / dataset, Indices()
        self.read = concatenate(read_impressions(Path(f"{at}.{part}.inter"), indices))
        self.names = indices.news.tokens()
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
        for start, ranked in zip(shown.offsets, ranker.rank(histories, candidates), strict=False):
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


class Measured(NamedTuple):
    """AUC and nDCG@10 of each impression under students of several sizes and of one."""

    several: Values
    alone: Values
    users: np.ndarray

    @classmethod
    def read(cls, file: Path) -> Measured:
        """What ``write`` wrote."""
        values: dict[str, Values] = {"several": defaultdict(dict), "alone": defaultdict(dict)}
        with np.load(file, allow_pickle=False) as arrays:
            for name in sorted(set(arrays.files) - {"users"}):
                kind, layers, entries, seed = name.split()
                values[kind][int(layers), int(entries)][int(seed)] = arrays[name].astype(float)
            return cls(**values, users=arrays["users"])

    def write(self, file: BinaryIO) -> None:
        """Write all of it, in single precision."""
        arrays: dict[str, Any] = {
            f"{kind} {layers} {entries} {seed}": found.astype(np.float32)
            for kind, values in (("several", self.several), ("alone", self.alone))
            for (layers, entries), of_seeds in values.items()
            for seed, found in of_seeds.items()
        }
        np.savez_compressed(file, users=self.users, **arrays)

    def show(self) -> None:
        """Print a table of sizes."""
        print(
            "| layers | entries | AUC | nDCG@10 | against this size alone | against whole vectors |"
        )
        print("| ---: | ---: | ---: | ---: | ---: | ---: |")
        whole = max(entries for _, entries in self.several)
        for (depth, dim), of_seeds in sorted(self.several.items()):
            means = 100 * np.array([each.mean(axis=0) for each in of_seeds.values()])
            cells = [f"{mean:.2f}" for mean in means.mean(0)]
            if len(means) > 1:
                spread = means.std(0, ddof=1)
                cells = [f"{cell} ± {of:.2f}" for cell, of in zip(cells, spread, strict=True)]
            cells += [self._against((depth, dim), entries) for entries in (dim, whole)]
            print(f"| {depth} | {dim} | " + " | ".join(cells) + " |", flush=True)

    def _against(self, size: Size, entries: int) -> str:
        """Difference in AUC of ``size`` and students of its depth alone with ``entries``."""
        mine, theirs = self.several[size], self.alone.get((size[0], entries), {})
        if not (seeds := sorted(mine.keys() & theirs.keys())):
            return ""
        (pair,) = compare([np.stack([mine[s][:, 0] - theirs[s][:, 0] for s in seeds])], self.users)
        fixed = f"[{100 * pair.fixed_low:+.2f}, {100 * pair.fixed_high:+.2f}]"
        shown = f"{100 * pair.difference:+.2f}"
        if pair.low is None or pair.high is None:
            return f"{shown} {fixed}, one seed"
        every = f"[{100 * pair.low:+.2f}, {100 * pair.high:+.2f}]"
        return f"{shown} {every}, seeds fixed {fixed}, {len(seeds)} seeds"


def measured(options: argparse.Namespace) -> Measured:
    """Values of all folders and of ``--results``."""
    part = Part(options.data_path, options.dataset, options.part)
    several: Values = defaultdict(dict)
    alone: Values = defaultdict(dict)
    whole = 0

    def measure(folder: Path, seed: int, size: Size, into: Values) -> None:
        ranker = load(folder, layers=size[0], dim=size[1])
        into[size][seed] = part.values(ranker)

    for folder in options.folders:
        seed, depths, dims, whole = sizes_of(folder)
        if unknown := set(options.layers or ()) - {*depths}:
            raise SystemExit(f"--layers expects some of {depths}, got {sorted(unknown)}")
        for size in ((depth, dim) for depth in options.layers or depths for dim in [*dims, whole]):
            measure(folder, seed, size, several)
    if options.results:
        alone |= results_of(options.results, whole)
    for folder in options.against:
        seed, (depth,), dims, entries = sizes_of(folder)
        measure(folder, seed, (depth, dims[0] if dims else entries), alone)
    return Measured(several, alone, part.users)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="*")
    parser.add_argument("--dataset")
    parser.add_argument("--data_path", type=Path)
    parser.add_argument("--against", type=Path, nargs="*", default=[])
    parser.add_argument("--results", type=Path)
    parser.add_argument("--part", choices=("test", "valid"), default="test")
    parser.add_argument("--layers", type=int, nargs="*", help="of these depths alone")
    parser.add_argument("--values", type=Path)
    options = parser.parse_args()
    if options.results and options.part != "test":
        parser.error("--results are of test impressions. Leave out --part=valid, or --results")
    if not options.folders:
        if not options.values or options.against or options.results or options.layers:
            parser.error("expects folders, or --values alone")
        Measured.read(options.values).show()
        return
    if not (options.dataset and options.data_path):
        parser.error("folders need --dataset and --data_path")
    if options.values and (options.values.exists() or not options.values.parent.is_dir()):
        parser.error(f"--values expects a new file in a folder that exists, got {options.values}")
    torch.set_num_threads(1)
    shown = measured(options)
    if options.values:
        with options.values.open("wb") as file:
            shown.write(file)
    shown.show()


if __name__ == "__main__":
    main()
