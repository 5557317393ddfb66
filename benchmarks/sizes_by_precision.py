"""Finished recommenders of several sizes, whole and in int8: size, speed and what it costs in AUC.

    python benchmarks/sizes_by_precision.py NAME=FOLDER [NAME=FOLDER ...] --dataset=NAME
        --data_path=DIR [--output=FILE.png]

Each is timed on one thread, 64 titles at once, tokenising included, in turns with all others; int8
is the export ``onnx-int8``. Test AUC is that of ``load(FOLDER)``.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections import defaultdict
from functools import partial
from pathlib import Path

import torch
from loaded_sizes import Part
from measure import finish, seconds_of

from recbole_tinynews.export.exporting import export
from recbole_tinynews.serving.loading import load
from recbole_tinynews.serving.ranker import Ranker

TITLES, AT_ONCE, ROUNDS = 512, 64, 5


def encode(ranker: Ranker, titles: list[str]) -> None:
    """Encode titles without a cache, a batch at a time."""
    for start in range(0, len(titles), AT_ONCE):
        ranker.engine.encode({"title": titles[start : start + AT_ONCE]})


def size_of(folder: Path) -> float:
    """Megabytes of the weights."""
    kinds = {".safetensors", ".onnx", ".data"}
    return sum(f.stat().st_size for f in folder.rglob("*") if f.suffix in kinds) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recommenders", nargs="+")
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--data_path", type=Path, required=True)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    test = Part(options.data_path, options.dataset, "test")
    titles = test.news["title"].tolist()[:TITLES]
    rankers: dict[tuple[str, str], tuple[Ranker, float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for each in options.recommenders:
            name, _, folder = each.partition("=")
            made = export(folder, "onnx-int8", Path(temporary, name))
            for precision, place in (("fp32", Path(folder)), ("int8", made.folder)):
                ranker = load(place)
                rankers[name, precision] = ranker, size_of(place)
        took = defaultdict(list)
        for _ in range(ROUNDS):
            for key, (ranker, _) in rankers.items():
                took[key].append(seconds_of(partial(encode, ranker, titles)))
        print("| recommender | precision | MB | titles/s | AUC | nDCG@10 |")
        print("| --- | --- | ---: | ---: | ---: | ---: |")
        figures, points = {}, []
        for (name, precision), (ranker, size) in rankers.items():
            auc, ndcg = 100 * test.values(ranker).mean(axis=0)
            rate = len(titles) / statistics.median(took[name, precision])
            print(f"| {name} | {precision} | {size:.1f} | {rate:,.0f} | {auc:.2f} | {ndcg:.2f} |")
            figures[f"{name}_{precision}"] = {"mb": size, "titles_per_second": rate, "auc": auc}
            points.append((f"{name}, {precision}", rate, auc))
    if options.output:
        draw(points, options.output)
    finish("sizes_by_precision", figures)


def draw(points: list[tuple[str, float, float]], file: Path) -> None:
    """AUC against milliseconds per thousand titles."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for label, rate, auc in points:
        axes.plot(1e6 / rate, auc, "s" if label.endswith("int8") else "o", color="C0")
        axes.annotate(label, (1e6 / rate, auc), xytext=(4, 4), textcoords="offset points", size=8)
    axes.set(
        xscale="log", xlabel="milliseconds per 1,000 titles, one thread", ylabel="AUC, percent"
    )
    figure.savefig(file, dpi=150)


if __name__ == "__main__":
    main()
