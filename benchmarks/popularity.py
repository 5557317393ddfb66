"""Counters of what is read now: their speed against a plain loop with bisect, and their memory.

    python benchmarks/popularity.py [--impressions=2200000] [--candidates=37] [--plain=20000]
        [--reader]

A random log over a week, articles drawn as popular as 1 / rank. The plain loop counts the first
``--plain`` impressions of the same log, all of which are events for it; times are compared per
impression. Anonymous memory is the highest of the process (RssAnon, read ten times a second, which
Linux alone tells) beyond what it had with the log opened; mapped files don't count. ``--reader``
counts each reader's own events apart too.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from bisect import bisect_left
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np

from recbole_tinynews.data.impressions import Impressions
from recbole_tinynews.data.popularity import Counting, count_events
from recbole_tinynews.data.ragged import Ragged

HOUR = 3600
COUNTING = Counting()
WEEK = 7 * 24 * HOUR
GB = 1e9


def random_log(folder: Path, impressions: int, candidates: int) -> Impressions:
    """Impressions in memory-mapped files, in order of time."""
    draw = np.random.default_rng(0)
    articles = max(1_000, impressions // 22)
    total = impressions * candidates
    values = _mapped(folder / "candidates", (total,), np.int32)
    labels = _mapped(folder / "labels", (total,), np.int8)
    for start in range(0, total, 10_000_000):
        size = min(10_000_000, total - start)
        rank = np.exp(draw.random(size) * np.log(articles))
        values[start : start + size] = rank.astype(np.int32)
        labels[start : start + size] = draw.random(size) < 0.04
    users = draw.integers(1, max(100, impressions // 3), impressions, dtype=np.int32)
    moments = np.sort(draw.integers(0, WEEK, impressions))
    offsets = np.arange(impressions + 1, dtype=np.int64) * candidates
    none = Ragged(np.empty(0, np.int32), np.zeros(impressions + 1, np.int64))
    ids = np.empty(0, dtype=str)
    return Impressions(ids, users, moments, none, Ragged(values, offsets), labels)


def plain_loop(impressions: Impressions) -> list[tuple[int, int]]:
    """Clicks and exposures of each candidate and window, one after the other."""
    shown, clicked = defaultdict(list), defaultdict(list)  # times, of an article or its user's own
    for row in range(impressions.rows):
        moment, user = int(impressions.timestamp[row]), int(impressions.user[row])
        first = int(impressions.candidates.offsets[row])
        for place, article in enumerate(impressions.candidates.row(row).tolist(), first):
            for key in (article, (article, user)):
                shown[key].append(moment)
                if impressions.labels[place] == 1:
                    clicked[key].append(moment)
    counts = []
    for row in range(impressions.rows):
        moment, user = int(impressions.timestamp[row]), int(impressions.user[row])
        for article in impressions.candidates.row(row).tolist():
            for window in COUNTING.windows:
                start = -1 if window is None else moment - window * HOUR
                pair = []
                for events in (clicked, shown):
                    everyone, own = events[article], events[article, user]
                    pair.append(
                        bisect_left(everyone, moment)
                        - bisect_left(everyone, start)
                        - (bisect_left(own, moment) - bisect_left(own, start))
                    )
                counts.append((pair[0], pair[1]))
    return counts


def anonymous() -> int:
    """Bytes of anonymous memory of this process."""
    line = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if "RssAnon" in line
    )
    return int(line.split()[1]) * 1024


def _mapped(file: Path, shape: tuple[int, ...], dtype: type) -> np.memmap:
    return np.memmap(file, dtype=dtype, mode="w+", shape=shape)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--impressions", type=int, default=2_200_000)
    parser.add_argument("--candidates", type=int, default=37)
    parser.add_argument("--plain", type=int, default=20_000)
    parser.add_argument("--reader", action="store_true")
    options = parser.parse_args()
    counting = replace(COUNTING, reader=options.reader)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = random_log(folder, options.impressions, options.candidates)
        total = len(log.candidates.values)
        shape = total, len(counting.names)
        out = _mapped(folder / "features", shape, np.float32)
        before, peak, finished = anonymous(), [0], threading.Event()

        def watch() -> None:
            while not finished.wait(0.1):
                peak[0] = max(peak[0], anonymous() - before)

        watcher = threading.Thread(target=watch)
        watcher.start()
        started, used = time.perf_counter(), time.process_time()
        count_events(log, counting, out=out)
        seconds, used = time.perf_counter() - started, time.process_time() - used
        finished.set()
        watcher.join()
        print(
            f"{log.rows:,} impressions, {total:,} candidates: {seconds:.1f} s, {used:.1f} s of "
            f"processor, {peak[0] / GB:.2f} GB of anonymous memory"
        )
        part = log.between(0, min(options.plain, log.rows))
        started = time.process_time()
        fast = count_events(part, counting)
        fast_seconds = time.process_time() - started
        started = time.process_time()
        plain = plain_loop(part)
        plain_seconds = time.process_time() - started
        windows = len(counting.windows)
        of_others = fast[:, 1 : 1 + 2 * windows].reshape(-1, 2, windows)
        pairs = of_others.transpose(0, 2, 1).reshape(-1, 2)
        assert (pairs == np.array(plain)).all(), "the plain loop counts otherwise"
        print(
            f"{part.rows:,} impressions: plain loop {plain_seconds:.1f} s, here {fast_seconds:.2f} "
            f"s of processor: {plain_seconds / fast_seconds:.0f} times as fast, all counts equal"
        )


if __name__ == "__main__":
    main()
