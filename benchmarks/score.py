"""Time and memory to rank articles for many users with ``serving.score``, in several processes.

Users click at random among synthetic articles whose vectors are at hand; each gets the best 50 of
all articles it has not clicked. Every process has one thread and writes its own shard.

    python benchmarks/score.py [--users=1000000] [--articles=5000] [--clicks=32] [--processes=2]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import torch
from measure import finish

from recbole_tinynews import load, run
from recbole_tinynews.serving.news_index import Shelf, save_shelf
from recbole_tinynews.serving.scoring import INDEX_FILE

DIM, TOP = 384, 50


def recommender(folder: Path) -> Path:
    """A PLM-NR with vectors of 384 numbers, trained for a step: speed does not depend on more."""
    settings = {
        "max_steps": 1,
        "news_dim": DIM,
        "checkpoint_dir": str(folder / "saved"),
        "show_progress": False,
    }
    run("PLMNR", "mind-mini", config_dict=settings)
    return next((folder / "saved" / "mind-mini").glob("PLMNR-*"))


def write_inputs(made: Path, folder: Path, users: int, articles: int, clicks: int) -> None:
    """News, users, and the index with the vectors of the news."""
    draws = np.random.default_rng(0)
    ids = np.array([f"N{number}" for number in range(articles)], dtype=object)
    titles = [f"article {number}" for number in range(articles)]
    pd.DataFrame({"id": ids, "title": titles}).to_parquet(folder / "news.parquet")
    vectors = torch.nn.functional.normalize(torch.randn(articles, DIM), dim=1)
    rows = {name: row for row, name in enumerate(ids)}
    output = folder / "out"
    output.mkdir()
    shelf = Shelf(tuple(ids), tuple((each,) for each in titles), rows, vectors)
    save_shelf(shelf, load(made).engine.identity, output / INDEX_FILE)
    (folder / "users").mkdir()
    for start in range(0, users, 100_000):
        some = range(start, min(start + 100_000, users))
        clicked = ids[draws.integers(0, articles, (len(some), clicks))]
        table = pd.DataFrame({"user_id": [f"U{user}" for user in some], "history": list(clicked)})
        table.to_parquet(folder / "users" / f"{start:012}.parquet", row_group_size=10_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--articles", type=int, default=5_000)
    parser.add_argument("--clicks", type=int, default=32)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        made = recommender(folder)
        write_inputs(made, folder, given.users, given.articles, given.clicks)
        command = [
            *(sys.executable, "-m", "recbole_tinynews.serving.score", f"--recommender={made}"),
            *(f"--news={folder / 'news.parquet'}", f"--users={folder / 'users'}"),
            *(f"--output={folder / 'out'}", f"--top={TOP}"),
        ]
        began = time.perf_counter()
        running = [
            psutil.Popen(
                [*command, f"--shard={number}/{given.processes}"],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=subprocess.DEVNULL,
            )
            for number in range(1, given.processes + 1)
        ]
        peak = 0
        while any(each.poll() is None for each in running):
            peak = max(peak, sum(_memory(each) for each in running))
            time.sleep(0.5)
        seconds = time.perf_counter() - began
        assert all(each.returncode == 0 for each in running)
        written = sum(
            len(pd.read_parquet(part, columns=["rank"])) for part in (folder / "out").glob("part-*")
        )
    assert written == given.users * TOP, written
    print(
        f"{given.users:,} users, {TOP} of {given.articles:,}, {given.processes} processes: "
        f"{seconds:.0f} s, {given.users / seconds:,.0f} users a second, {peak / 1e9:.1f} GB"
    )
    figures = {
        "users": given.users,
        "processes": given.processes,
        "seconds": seconds,
        "users_per_second": given.users / seconds,
        "peak_memory_gb": peak / 1e9,
    }
    finish("score", figures)


def _memory(process: psutil.Process) -> int:
    """Memory of a process alone, and its part of what it shares: mapped files count once."""
    try:
        return process.memory_full_info().pss
    except (psutil.Error, AttributeError):
        return 0


if __name__ == "__main__":
    main()
