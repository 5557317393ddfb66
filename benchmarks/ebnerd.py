"""How long EB-NeRD's parquet files take to convert, and in how much memory, on synthetic ones.

EB-NeRD-large has 12 million training impressions of 800,000 users; the default is a tenth of it:
12 candidates an impression, a history of 120 clicks for each user, bodies of 400 words. Each
conversion runs in a process of its own, so that its peak memory can be measured.

    python benchmarks/ebnerd.py [--impressions=300000,1200000] [--folder=DIR]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ARTICLES, WORDS = 50_000, 400
USER_SHARE, CLICKS, SHOWN = 1 / 15, 120, 12
AT_ONCE = 100_000  # rows written, and of a row group
START, DAYS = 1_684_400_000, 7


def write(folder: Path, impressions: int, seed: int = 0) -> Path:
    """The files of one split; returns its folder."""
    rng = np.random.default_rng(seed)
    split = folder / "train"
    split.mkdir(parents=True)
    _write_articles(folder / "articles.parquet", rng)
    users = max(1, round(impressions * USER_SHARE))
    with _Writer(split / "history.parquet") as history:
        for start in range(0, users, AT_ONCE // 10):
            names = np.arange(start, min(users, start + AT_ONCE // 10))
            clicks = rng.integers(1, ARTICLES, (len(names), CLICKS))
            times = np.sort(rng.integers(0, 21 * 86_400, clicks.shape)) + START - 21 * 86_400
            history.write(
                user_id=pa.array(names, pa.uint32()),
                impression_time_fixed=_lists(times * 1_000_000, pa.timestamp("us")),
                article_id_fixed=_lists(clicks, pa.int32()),
            )
    with _Writer(split / "behaviors.parquet") as behaviors:
        order = rng.permutation(impressions)  # ids and times are in no order, as published
        for start in range(0, impressions, AT_ONCE):
            rows = order[start : start + AT_ONCE]
            shown = rng.integers(1, ARTICLES, (len(rows), SHOWN))
            seconds = START + rows * (DAYS * 86_400) // impressions
            behaviors.write(
                impression_id=pa.array(rows * 40 + 48_401, pa.uint32()),
                impression_time=pa.array(seconds * 1_000_000, pa.timestamp("us")),
                article_ids_inview=_lists(shown, pa.int32()),
                article_ids_clicked=_lists(shown[:, :1], pa.int32()),
                user_id=pa.array(rng.integers(0, users, len(rows)), pa.uint32()),
            )
    return split


def _write_articles(path: Path, rng: np.random.Generator) -> None:
    words = np.array([f"ord{number}" for number in range(5_000)])
    with _Writer(path) as file:
        for start in range(0, ARTICLES, 5_000):
            bodies = words[rng.integers(0, len(words), (5_000, WORDS))]
            file.write(
                article_id=pa.array(np.arange(start, start + 5_000), pa.int32()),
                title=pa.array([" ".join(body[:8]) for body in bodies]),
                subtitle=pa.array([" ".join(body[:20]) for body in bodies]),
                body=pa.array([" ".join(body) for body in bodies]),
                category_str=pa.array(words[rng.integers(0, 20, 5_000)]),
            )


class _Writer:
    """A parquet file that is written a row group at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: pq.ParquetWriter | None = None

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._file is not None
        self._file.close()

    def write(self, **columns: pa.Array) -> None:
        table = pa.table(columns)
        if self._file is None:
            self._file = pq.ParquetWriter(self._path, table.schema)
        self._file.write_table(table)


def _lists(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    offsets = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    return pa.ListArray.from_arrays(offsets, pa.array(values.ravel(), kind))


def convert(split: Path) -> None:
    """Convert in a process of its own; print seconds, those of the processor, and peak memory."""
    from recbole_tinynews.convert import convert_news

    began = time.perf_counter()
    report = convert_news(split, "ebnerd", format="ebnerd", output=split.parent / "dataset")
    unit = 2**30 if sys.platform == "darwin" else 2**20  # macOS counts bytes
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    counted = sum(part["impressions"] for part in report["impressions"].values())
    print(json.dumps([counted, time.perf_counter() - began, time.process_time(), peak]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--impressions", default="300000,1200000", help="(default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="for temporary files (default: the system's)")
    parser.add_argument("--convert", type=Path, help=argparse.SUPPRESS)  # for the child
    options = parser.parse_args()
    if options.convert is not None:
        convert(options.convert)
        return
    figures = {}
    print("impressions   seconds  processor  peak GiB")
    for impressions in map(int, options.impressions.split(",")):
        with tempfile.TemporaryDirectory(prefix="recbole-tinynews-", dir=options.folder) as place:
            split = write(Path(place), impressions)
            command = [sys.executable, __file__, f"--convert={split}"]
            output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        counted, seconds, processor, peak = json.loads(output.splitlines()[-1])
        assert counted == impressions
        figures[str(impressions)] = {
            "seconds": seconds,
            "processor_seconds": processor,
            "peak_gib": peak,
        }
        print(f"{impressions:>11,}{seconds:>10.1f}{processor:>11.1f}{peak:>10.2f}", flush=True)
    print()
    from measure import finish  # imports torch, which the child does not

    finish("ebnerd", figures)


if __name__ == "__main__":
    main()
