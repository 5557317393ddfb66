"""Time to rank a test set and to write it as a submission, with news vectors already computed.

MIND-large's test set has about 2.4 million impressions of 37 candidates; this one is synthetic, has
the given size and no labels. Batches, user vectors, scores and metrics go through RecBole's
evaluator as in a run; then the ranks are written to the zip. Memory is the peak of the whole
process so far.

    python benchmarks/submission.py [--impressions=20000] [--news=20000]
    python benchmarks/submission.py --impressions=2400000 --news=120000
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from measure import finish

from recbole_tinynews.data.dataloader import ImpressionDataLoader
from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.data.impressions import UNLABELLED, Impressions
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.evaluation.result_files import write_submission
from recbole_tinynews.files.columns import CATEGORY, INTER, ITEM_ID, SUBCATEGORY, TITLE, header
from recbole_tinynews.pipeline.config import NewsConfig
from recbole_tinynews.trainer import NewsTrainer

NAME = "bench"
EMBEDDED_PLM = Path(__file__).parents[1] / "dataset" / "mind-mini" / "language_model"


def synthetic_impressions(impressions: int, news: int) -> Impressions:
    """Sizes as in MIND: 37 candidates on average (median 24, at most 300), histories of 33."""
    rng = np.random.default_rng(0)
    shown = np.exp(rng.normal(np.log(24), 0.93, impressions)).round().clip(2, 300).astype(np.int64)
    clicked = np.exp(rng.normal(np.log(19), 1.05, impressions)).round().clip(0, 500)
    clicked = clicked.astype(np.int64)
    candidates = rng.integers(1, news + 1, shown.sum(), np.int32)
    history = rng.integers(1, news + 1, clicked.sum(), np.int32)
    return Impressions(
        np.arange(1, impressions + 1).astype(str),
        np.ones(impressions, np.int32),
        np.zeros(impressions, np.int64),
        Ragged.from_lengths(history, clicked),
        Ragged.from_lengths(candidates, shown),
        np.full(len(candidates), UNLABELLED, np.int8),
    )


def write_news(folder: Path, news: int) -> None:
    """Write atomic files of a data set with ``news`` articles and one training impression."""
    folder.mkdir()
    columns = (ITEM_ID, CATEGORY, SUBCATEGORY, TITLE)
    rows = "".join(f"N{number}\tnews\tworld\tNews number {number}\n" for number in range(news))
    (folder / f"{NAME}.item").write_text(f"{header(columns)}\n{rows}", encoding="utf-8")
    (folder / f"{NAME}.train.inter").write_text(
        f"{header(INTER)}\n1\tU1\t0\tN0\tN1 N2\t1 0\n",
        encoding="utf-8",
    )


def peak_gb() -> float:
    """Peak memory of this process so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # kilobytes on Linux


def timed(part: str, impressions: int, work: Callable[[], object]) -> dict[str, float]:
    """Wall-clock and processor seconds of a part, and peak memory up to its end, by name.

    Processor time does not depend on other work on the machine.
    """
    began, cpu_began = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    print(
        f"{part:10}{wall:9.1f} s{impressions / wall:12,.0f} impressions/s{cpu:9.1f} s of processor"
        f"{peak_gb():8.2f} GB",
        flush=True,
    )
    return {f"{part}_seconds": wall, f"{part}_cpu_seconds": cpu, f"{part}_gb": peak_gb()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--impressions", type=int, default=20_000)
    parser.add_argument("--news", type=int, default=20_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_news(Path(folder, NAME), options.news)
        settings = {
            "data_path": folder,
            "checkpoint_dir": folder,
            "plm": str(EMBEDDED_PLM),
            "num_hidden_layers": 1,
            "head_init": "random",  # others start from articles, before training
            "show_progress": False,
            "use_gpu": False,
        }
        config = NewsConfig("PLMNR", NAME, config_dict=settings)
        data = NewsDataset(config)
        test = data.copy(synthetic_impressions(options.impressions, data.item_num - 1))
        trainer = NewsTrainer(config, config.model_class(config, data))
        loader = ImpressionDataLoader(config, test)
        trainer.model.eval().news_encoder.encode_ahead(np.arange(1, data.item_num))
        shown = test.inter_feat
        sizes = shown.candidates.lengths
        print(
            f"{shown.rows:,} impressions, {sizes.mean():.1f} candidates and "
            f"{np.minimum(shown.history.lengths, 50).mean():.1f} clicks each, "
            f"{data.item_num - 1:,} news"
        )
        figures = {"data_gb": peak_gb()}
        evaluate = partial(trainer.evaluate, loader, load_best_model=False)
        figures |= timed("scoring", shown.rows, evaluate)
        collected = trainer.eval_collector
        file = Path(folder, "submission.zip")
        assert collected.evaluated is not None
        scored = collected.evaluated.scores, collected.evaluated.offsets
        write = partial(write_submission, file, collected.ids, *scored)
        figures |= timed("writing", shown.rows, write)
        megabytes = file.stat().st_size / 1e6
    print(f"zip: {megabytes:.1f} MB; before scoring: {figures['data_gb']:.2f} GB")
    size = {"impressions": shown.rows, "candidates": int(sizes.sum()), "zip_mb": megabytes}
    finish("submission", {**size, **figures})


if __name__ == "__main__":
    main()
