"""Metrics of finished recommenders on impressions of another data set, such as a published test.

    python benchmarks/elsewhere.py FOLDER [FOLDER ...] --data=out/NAME [--without=out/OTHER ...]

FOLDER is a finished recommender for ``load``, ranked are the test impressions of the converted data
set NAME. Those whose history and candidates, in any order, recur in a split of ``--without`` are
dropped. Percent with 95 % intervals over users.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from recbole_tinynews.benchmark.significance import users_random
from recbole_tinynews.data.atomic_files import read_news_file
from recbole_tinynews.evaluation.metrics import auc, mrr, ndcg, rank_impressions
from recbole_tinynews.serving.loading import load

READ = "history", "candidates"


def splits(folder: Path, names: tuple[str, ...]) -> pd.DataFrame:
    """Impressions of some splits of a data set, all columns as text."""
    files = [folder / f"{folder.name}.{name}.inter" for name in names]
    plain = {"sep": "\t", "dtype": str, "keep_default_na": False, "quoting": csv.QUOTE_NONE}
    rows = pd.concat([pd.read_csv(each, **plain) for each in files if each.is_file()])
    return rows.rename(columns=lambda name: name.partition(":")[0])


def pairs(rows: pd.DataFrame) -> list[tuple[tuple[str, ...], ...]]:
    """History and candidates of each impression, in alphabetical order."""
    columns = ([tuple(sorted(each.split())) for each in rows[name]] for name in READ)
    return [*zip(*columns, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--without", type=Path, action="append", default=[])
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = splits(options.data, ("test",))
    others = [splits(folder, ("train", "valid", "test")) for folder in options.without]
    seen = {pair for other in others for pair in pairs(other)}
    recurs = [pair in seen for pair in pairs(rows)]
    rows = rows[~np.array(recurs)]
    print(f"{len(rows)} impressions, {sum(recurs)} that recur elsewhere are left out")
    histories = [each.split() for each in rows.history]
    candidates = [each.split() for each in rows.candidates]
    labels = np.array([float(each) for of_row in rows.labels for each in of_row.split()])
    offsets = np.cumsum([0, *map(len, candidates)])
    _, users = np.unique(rows.user_id, return_inverse=True)
    news = read_news_file(options.data / f"{options.data.name}.item")
    read = {name for of_row in (*histories, *candidates) for name in of_row}
    news = news[news["item_id"].isin(read)]
    for folder in options.folders:
        ranker = load(folder)
        ranker.add_news(news)
        scores = []
        for ranked in ranker.rank(histories, candidates):
            scores += [each.score for each in sorted(ranked, key=lambda one: one.place)]
        ranks = rank_impressions(np.array(scores), labels.astype(np.int8), offsets)
        values = np.stack([auc(ranks), mrr(ranks), ndcg(ranks, 5), ndcg(ranks, 10)])
        intervals = users_random(values, users)
        told = ", ".join(
            f"{name} {100 * each.mean():.2f} [{100 * of.low:.2f}, {100 * of.high:.2f}]"
            for name, each, of in zip(
                ("AUC", "MRR", "nDCG@5", "nDCG@10"), values, intervals, strict=True
            )
        )
        print(f"{folder.name}: {told}")


if __name__ == "__main__":
    main()
