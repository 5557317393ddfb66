"""Time to compute the metrics of MIND-small's dev set, compared with a loop over impressions.

The loop is the straightforward implementation: scikit-learn's ``roc_auc_score`` and plain
numpy for MRR, nDCG@5 and nDCG@10, one impression at a time. It runs over every fourth impression in
eight parts, and its time is scaled to all (``--every=1`` runs it in full, about two minutes). After
each part the vectorised metrics are timed on all impressions, so that both are measured under the
same load.

Then a whole evaluation of a synthetic test set of that size is timed, through RecBole's evaluator,
with the news vectors already computed: batches, user vectors, scores and metrics.

    python benchmarks/evaluate.py [--every=4] [--impressions=73152]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from measure import finish, seconds_of
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from synthetic import Settings, generate

from recbole_tinynews.convert import convert_news
from recbole_tinynews.data.dataloader import ImpressionDataLoader
from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.evaluation.metrics import auc, mrr, ndcg, rank_impressions
from recbole_tinynews.pipeline.config import NewsConfig
from recbole_tinynews.trainer import NewsTrainer

IMPRESSIONS, NEWS, USERS = 73_152, 65_238, 50_000  # MIND-small, dev
EMBEDDED_PLM = Path(__file__).parents[1] / "dataset" / "mind-mini" / "language_model"
PARTS, EVALUATIONS = 8, 3
TOLERANCE = 1e-12


class Impressions(NamedTuple):
    """Impressions with any number of candidates, as flat arrays with offsets."""

    scores: NDArray[np.float32]  # [candidates in total]
    labels: NDArray[np.int8]  # [candidates in total]
    offsets: NDArray[np.int64]  # [impressions + 1]


def synthetic_impressions(impressions: int, seed: int = 0) -> Impressions:
    """Candidates as in MIND (mean 37, median 24, at most 300), 1.5 clicks, some scores tied."""
    rng = np.random.default_rng(seed)
    sizes = np.exp(rng.normal(np.log(24), 0.93, impressions)).round().clip(2, 300).astype(np.int64)
    offsets = np.append(0, np.cumsum(sizes))
    clicks = np.minimum(rng.geometric(1 / 1.5, impressions), sizes - 1)
    shuffled = np.lexsort((rng.random(offsets[-1]), np.repeat(np.arange(impressions), sizes)))
    place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], sizes)
    labels = np.empty(offsets[-1], np.int8)
    labels[shuffled] = place < np.repeat(clicks, sizes)
    scores = (rng.normal(size=offsets[-1]) + 0.5 * labels).astype(np.float32)
    tied = rng.random(offsets[-1]) < 0.1
    scores[tied] = scores[tied].round(1)
    return Impressions(scores, labels, offsets)


def vectorised(data: Impressions) -> NDArray[np.float64]:
    """AUC, MRR, nDCG@5, nDCG@10 in columns: ``[impressions, 4]``."""
    ranked = rank_impressions(*data)
    return np.column_stack([auc(ranked), mrr(ranked), ndcg(ranked, 5), ndcg(ranked, 10)])


def loop(data: Impressions, impressions: NDArray[np.int64]) -> NDArray[np.float64]:
    """The same metrics of the given impressions, computed one impression at a time."""
    rows = []
    for start, end in zip(data.offsets[impressions], data.offsets[impressions + 1], strict=True):
        scores, labels = data.scores[start:end], data.labels[start:end]
        order = np.argsort(scores, kind="stable")[::-1]
        rows.append(
            (
                roc_auc_score(labels, scores),
                np.sum(labels[order] / np.arange(1, len(labels) + 1)) / labels.sum(),
                _ndcg_of_one(labels, order, 5),
                _ndcg_of_one(labels, order, 10),
            )
        )
    return np.array(rows)


def _ndcg_of_one(labels: NDArray[np.int8], order: NDArray[np.int64], k: int) -> float:
    discounts = np.log2(np.arange(2, min(k, len(labels)) + 2))
    ideal = np.sort(labels)[::-1]
    return np.sum(labels[order[:k]] / discounts) / np.sum(ideal[:k] / discounts)


def compare(data: Impressions, sample: NDArray[np.int64]) -> tuple[float, float, float]:
    """Seconds of the vectorised metrics and of the loop, and their largest difference."""
    values = vectorised(data)  # also warms up
    ours, theirs, difference = [], [], 0.0
    for part in np.array_split(sample, PARTS):
        began = time.perf_counter()
        expected = loop(data, part)
        theirs.append(time.perf_counter() - began)
        difference = max(difference, float(np.abs(expected - values[part]).max()))
        began = time.perf_counter()
        vectorised(data)
        ours.append(time.perf_counter() - began)
    return statistics.median(ours), sum(theirs) * len(values) / len(sample), difference


def rank_test_set(impressions: int) -> float:
    """Seconds of an evaluation with news vectors computed: 256 dimensions, histories of 50."""
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder, "raw")
        few = Settings(NEWS, USERS, 2_000, test_impressions=impressions)
        generate(raw, few)
        convert_news(raw / "train", "bench", test=raw / "test", output=Path(folder))
        config = NewsConfig(
            "PLMNR",
            "bench",
            config_dict={
                "data_path": folder,
                "checkpoint_dir": folder,
                "plm": str(EMBEDDED_PLM),
                "num_hidden_layers": 1,
                "head_init": "random",  # no run starts pretrained ones here
                "show_progress": False,
                "use_gpu": False,
            },
        )
        train, _, test = NewsDataset(config).build()
        trainer = NewsTrainer(config, config.model_class(config, train))
        loader = ImpressionDataLoader(config, test)
        trainer.evaluate(loader, load_best_model=False)  # computes the news vectors
        return statistics.median(
            seconds_of(lambda: trainer.evaluate(loader, load_best_model=False))
            for _ in range(EVALUATIONS)
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=4, help="the loop takes every n-th impression")
    parser.add_argument("--impressions", type=int, default=IMPRESSIONS)
    options = parser.parse_args()
    every, impressions = options.every, options.impressions

    data = synthetic_impressions(impressions)
    sizes, clicks = np.diff(data.offsets), int(data.labels.sum())
    print(
        f"{impressions:,} synthetic impressions: candidates mean {sizes.mean():.1f}, median "
        f"{np.median(sizes):.0f}, max {sizes.max()}; {clicks / impressions:.2f} clicks each"
    )
    sample = np.arange(0, impressions, every)
    seconds, reference, difference = compare(data, sample)
    if not difference <= TOLERANCE:
        raise SystemExit(f"The metrics differ from the loop by {difference:.1e} (> {TOLERANCE}).")

    print(f"largest difference of a metric over {len(sample):,} impressions: {difference:.1e}\n")
    print(f"{'':36}{'seconds':>10}{'impressions/s':>16}")
    scaled = f"loop, 1 in {every}, scaled to all" if every > 1 else "loop, in full"
    for name, took in ((scaled, reference), (f"vectorised, median of {PARTS}", seconds)):
        print(f"{name:36}{took:10.3f}{impressions / took:16,.0f}")
    print(f"{'speed-up':36}{reference / seconds:9.0f}x\n")
    ranked = rank_test_set(impressions)
    print(f"a whole evaluation of {impressions:,} impressions, vectors computed: {ranked:.2f} s\n")
    finish(
        "evaluate",
        {
            "impressions": impressions,
            "candidates": len(data.scores),
            "seconds": seconds,
            "reference_seconds": reference,
            "reference_impressions": len(sample),
            "speedup": reference / seconds,
            "largest_difference": difference,
            "ranking_seconds": ranked,
        },
    )


if __name__ == "__main__":
    main()
