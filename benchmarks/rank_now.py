"""What live counters cost: ``rank`` with and without them, and events that are committed a second.

    python benchmarks/rank_now.py [--events=1000000] [--reader] [--folder=FOLDER --news=FILE]

The ways of ranking take turns in one process on one thread, with 50 clicks and 300 candidates by
id: by text, at a time that 64 requests share, and each at a second of its own; time only moves
forward, as it does for a service. The store has
``--events`` exposures (one in ten clicked) of the last 24 hours, by 50,000 users, of articles as
popular as 1 / rank; every request is a user's with events of its own.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import finish, seconds_of
from serve import CANDIDATES, CLICKS, finished_run, readers

from recbole_tinynews.data.atomic_files import read_news_file
from recbole_tinynews.serving.events import CLICK, EXPOSURE, Event
from recbole_tinynews.serving.loading import load

DAY = 24 * 3600
USERS = 50_000
ROUNDS = 30
BATCH = 100  # events of a request


def random_events(ids: list[str], number: int, now: int) -> Iterator[Event]:
    """Events of the day until ``now``, in order of time."""
    draw = np.random.default_rng(0)
    article = np.exp(draw.random(number) * np.log(len(ids))).astype(int) - 1
    user, clicked = draw.integers(0, USERS, number), draw.random(number) < 0.1
    moments = np.sort(draw.integers(now - DAY, now, number))
    rows = zip(article.tolist(), user.tolist(), clicked.tolist(), moments.tolist(), strict=True)
    for place, (row, who, click, at) in enumerate(rows):
        yield Event(f"e{place}", CLICK if click else EXPOSURE, ids[row], f"U{who}", at)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--reader", action="store_true", help="what readers saw and clicked too")
    parser.add_argument("--folder", type=Path, help="a finished recommender with popularity")
    parser.add_argument("--news", type=Path, help="its articles")
    options = parser.parse_args()
    if (options.folder is None) != (options.news is None):
        parser.error("--folder and --news belong together.")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder, news = options.folder, options.news
        if folder is None:
            of_reader = ("--reader=added", "--history_from=log") if options.reader else ()
            folder, news = finished_run(Path(temporary), "--popularity=added", *of_reader)
        ranker = load(folder, store=Path(temporary) / "store")
        ranker.add_news(read_news_file(news))
        counters, ids, now = ranker.counters, list(ranker.news_ids), int(time.time())
        assert counters is not None
        started = time.perf_counter()
        counters.add_past(random_events(ids, options.events, now))
        added = options.events / (time.perf_counter() - started)
        asked = readers(ids)
        took: dict[str, list[float]] = {"text": [], "shared_second": [], "own_second": []}
        at = now
        for _ in range(ROUNDS):
            for name in ("shared_second", "own_second"):
                for number, each in enumerate(asked):
                    at += number == 0 or name == "own_second"
                    now_for_user: dict[str, Any] = {"at": at, "user": f"U{number}"}
                    for way, moment in (("text", {}), (name, now_for_user)):
                        rank = partial(ranker.rank, *each, **moment)
                        took[way].append(seconds_of(rank))
        # few percent: on a busy machine, those that nothing has interrupted
        low, p50 = ({n: np.percentile(t[64:], q) * 1e3 for n, t in took.items()} for q in (5, 50))
        for name in took:
            print(
                f"{name:14} {low[name]:6.2f} ms in the fastest 5 percent, p50 {p50[name]:6.2f} ms: "
                f"{low[name] / low['text']:.2f} and {p50[name] / p50['text']:.2f} times text"
            )
        batches = [
            [Event(f"b{n} {m}", EXPOSURE, ids[m], f"U{n}", now) for m in range(BATCH)]
            for n in range(200)
        ]
        posted = np.array([seconds_of(partial(ranker.add_events, batch)) for batch in batches])
        print(
            f"batches of {BATCH} events: p50 {np.median(posted) * 1e3:.1f} ms, "
            f"{BATCH / posted.mean():,.0f} events a second; a log: {added:,.0f}"
        )
        size = {"clicks": CLICKS, "candidates": CANDIDATES, "events": options.events}
        times = {"fastest_5_percent_ms": low, "p50_ms": p50}
        rates = {"events_per_second": float(BATCH / posted.mean()), "log_per_second": added}
        finish("rank_now", {**size, **times, **rates})


if __name__ == "__main__":
    main()
