"""What a run reports beside the metrics of clicks on all impressions: slices, and what is shown."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from tiny import DATASET, Tiny

from recbole_tinynews.pipeline.quick_start import run


def dump_by_id() -> dict[str, dict[str, str]]:
    """The rows of ``dump.csv``."""
    with Path("dump.csv").open(encoding="utf-8", newline="") as file:
        return {row["impression_id"]: row for row in csv.DictReader(file)}


def inter_rows(tiny: Tiny, split: str) -> list[dict[str, str]]:
    """The rows of a file of impressions, by column."""
    place = tiny.data / DATASET / f"{DATASET}.{split}.inter"
    with place.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return [{name.partition(":")[0]: cell for name, cell in row.items()} for row in rows]


@pytest.mark.parametrize("model", ["PLMNR", "Pop", "CategoryMatch"])
def test_metrics_of_articles_have_the_articles_of_the_data_set(tiny: Tiny, model: str) -> None:
    """Ids of another index, or clicks of the test set, would give values that look as good."""
    settings = tiny.stock_settings() if model == "Pop" else tiny.settings(model)
    asked = {
        "metrics": ["AUC", "NDCG", "Diversity", "Calibration", "Cold_Share"],
        "topk": [2],
        "eval_dump": "dump.csv",
        "submission": "ranks.zip",  # which has all ranks
    }
    result = run(model, DATASET, config_dict={**settings, **asked})
    with (tiny.data / DATASET / f"{DATASET}.item").open(encoding="utf-8") as items:
        category = dict(line.split("\t")[:2] for line in items)
    clicked = {
        news
        for row in inter_rows(tiny, "train")
        for news, label in zip(row["candidates"].split(), row["labels"].split(), strict=True)
        if label == "1"
    }
    text = ZipFile("ranks.zip").read("prediction.txt").decode()
    ranks = {line.split()[0]: json.loads(line.split()[1]) for line in text.splitlines()}
    dump = dump_by_id()
    for row in inter_rows(tiny, "test"):
        placed = zip(ranks[row["impression_id"]], row["candidates"].split(), strict=True)
        first = [news for _, news in sorted(placed)][:2]
        cells = dump[row["impression_id"]]
        assert float(cells["cold_share@2"]) == np.mean([news not in clicked for news in first])
        kinds = [category[news] for news in first]
        assert cells["diversity@2"] == (str(float(len({*kinds}) > 1)) if len(kinds) > 1 else "")
        read = [category[news] for news in row["history"].split()]
        assert bool(cells["calibration@2"]) == bool(read)
        if read:
            p = {kind: read.count(kind) / len(read) for kind in read}
            q = {kind: kinds.count(kind) / len(kinds) for kind in read}
            by_hand = sum(p[c] * math.log(p[c] / (0.01 * p[c] + 0.99 * q[c])) for c in p)
            assert float(cells["calibration@2"]) == pytest.approx(by_hand, abs=1e-9)
    assert (result["test"]["skipped_diversity@2"], result["test"]["skipped_calibration@2"]) == (
        1,
        1,
    )
    values = [float(row["calibration@2"]) for row in dump.values() if row["calibration@2"]]
    assert result["test"]["calibration@2"] == pytest.approx(np.mean(values), abs=1e-6)
