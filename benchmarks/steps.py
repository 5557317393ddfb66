"""Draws each step of knowing more as a bar: others' clicks, the reader, the page, trained text.

    python benchmarks/steps.py [--results=benchmarks/results/ebnerd-reader] [--output=docs/images]

The bars are mean test AUC by ``results.csv`` of the suite ``reader``, in percent.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import pandas as pd
from matplotlib import pyplot as plt

STEPS = {
    "PopularNow": "most clicked\nin 24 hours",
    "TimeBoosted": "others' clicks,\ntitles",
    "TimeBoosted (reader)": "+ what the\nreader saw",
    "TimeBoosted (reader and page)": "+ the page\nthey are on",
    "BoostedStudent_4 (reader and page)": "+ a trained\nstudent",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default="benchmarks/results/ebnerd-reader")
    parser.add_argument("--output", type=Path, default="docs/images")
    given = parser.parse_args()
    rows = pd.read_csv(given.results / "results.csv")
    means = 100 * rows.groupby("system")["auc"].mean()
    figure, axes = plt.subplots(figsize=(7, 3))
    bars = axes.bar([*STEPS.values()], [means[label] for label in STEPS], color="#3f51b5")
    axes.bar_label(bars, fmt="%.1f")
    axes.set_ylim(70, 81)
    axes.set_ylabel("test AUC, percent")
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(given.output / "steps.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
