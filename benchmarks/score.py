"""Time and memory to rank articles for many readers with ``serving.score``.

Readers click at random among synthetic articles; each gets the best 50 of all articles it has not
clicked. The process has one thread.

    python benchmarks/score.py [--users=1000000] [--articles=5000] [--clicks=32]
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
import pyarrow as pa
import pyarrow.parquet as pq
from measure import finish

from recbole_tinynews import run

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


def write_inputs(folder: Path, users: int, articles: int, clicks: int) -> None:
    """News and users."""
    draws = np.random.default_rng(0)
    ids = np.array([f"N{number}" for number in range(articles)], dtype=object)
    titles = [f"article {number}" for number in range(articles)]
    pd.DataFrame({"id": ids, "title": titles}).to_parquet(folder / "news.parquet")
    schema = pa.schema({"user_id": pa.string(), "history": pa.list_(pa.string())})
    with pq.ParquetWriter(folder / "users.parquet", schema) as file:
        for start in range(0, users, 100_000):
            some = range(start, min(start + 100_000, users))
            clicked = ids[draws.integers(0, articles, (len(some), clicks))]
            rows = {"user_id": [f"U{user}" for user in some], "history": clicked.tolist()}
            file.write_table(pa.table(rows, schema))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--articles", type=int, default=5_000)
    parser.add_argument("--clicks", type=int, default=32)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        made = recommender(folder)
        write_inputs(folder, given.users, given.articles, given.clicks)
        command = [
            *(sys.executable, "-m", "recbole_tinynews", "score", f"--recommender={made}"),
            *(f"--news={folder / 'news.parquet'}", f"--users={folder / 'users.parquet'}"),
            *(f"--output={folder / 'out.parquet'}", f"--top={TOP}"),
        ]
        began = time.perf_counter()
        running = psutil.Popen(
            command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL
        )
        peak = 0
        while running.poll() is None:
            peak = max(peak, _memory(running))
            time.sleep(0.5)
        seconds = time.perf_counter() - began
        assert running.returncode == 0
        written = pq.ParquetFile(folder / "out.parquet").metadata.num_rows
    assert written == given.users * TOP, written
    print(
        f"{given.users:,} users, {TOP} of {given.articles:,}: "
        f"{seconds:.0f} s, {given.users / seconds:,.0f} users a second, {peak / 1e9:.1f} GB"
    )
    figures = {
        "users": given.users,
        "seconds": seconds,
        "users_per_second": given.users / seconds,
        "peak_memory_gb": peak / 1e9,
    }
    finish("score", figures)


def _memory(process: psutil.Process) -> int:
    """Memory of a process alone, and its part of what it shares."""
    try:
        return process.memory_full_info().pss
    except (psutil.Error, AttributeError):
        return 0


if __name__ == "__main__":
    main()
