"""Draws RecBole's own models by ids, by text and by both as bars, with their seeds.

    python benchmarks/item_text_figure.py [--results=benchmarks/results] [--output=docs/images]

The bars are mean test AUC by ``results.csv`` of the suite ``toolkit-text``, in percent; lines are
one standard deviation over the seeds.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import pandas as pd
from matplotlib import pyplot as plt

DATA = {"EB-NeRD": "ebnerd-toolkit-text", "MIND": "mind-pooled-toolkit-text"}
MODELS = ["BPR", "LightGCN", "GRU4Rec", "SASRec", "FM", "DIN"]
KNOWS = {"ids": "#b0b7c3", "text": "#3f51b5", "text and ids": "#8e9ad8"}
WIDTH = 0.27


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default="benchmarks/results")
    parser.add_argument("--output", type=Path, default="docs/images")
    given = parser.parse_args()
    figure, both = plt.subplots(1, 2, figsize=(9, 3), sharey=True)
    for axes, (name, folder) in zip(both, DATA.items(), strict=True):
        auc = 100 * pd.read_csv(given.results / folder / "results.csv").set_index("system")["auc"]
        means, deviations = auc.groupby("system").mean(), auc.groupby("system").std()
        for number, (how, colour) in enumerate(KNOWS.items()):
            rows = [f"{model} ({how})" for model in MODELS]
            places = [place + (number - 1) * WIDTH for place in range(len(MODELS))]
            look = {"color": colour, "label": how, "error_kw": {"elinewidth": 1}}
            axes.bar(places, means[rows], WIDTH, yerr=deviations[rows], **look)
        axes.set_title(name)
        axes.set_xticks(range(len(MODELS)), MODELS, fontsize=8)
        axes.axhline(50, color="#777777", linewidth=0.8, linestyle=":")
        axes.spines[["top", "right"]].set_visible(False)
    both[0].set_ylim(44, 62)
    both[0].set_ylabel("test AUC, percent")
    both[1].legend(frameon=False, loc="upper left")
    figure.tight_layout()
    figure.savefig(given.output / "item_text.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
