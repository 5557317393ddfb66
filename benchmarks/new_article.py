"""Where an article stands that nobody knew a minute ago and many have clicked since.

    python benchmarks/new_article.py FOLDER... --data=out/ebnerd [--clicks=0,30,300,1000]

Each FOLDER is a finished recommender that was trained with ``popularity: added``. At several
moments before the end of the data set's log, all events until then are counted, an article is
added, and so many readers click it within a minute. Printed is its place in ``top`` for a reader
without a history, among all articles of the data set.
"""

from __future__ import annotations

import argparse
import bisect
from pathlib import Path

from measure import finish

from recbole_tinynews.data.atomic_files import read_news_file
from recbole_tinynews.serving.events import CLICK, Event, data_set_events
from recbole_tinynews.serving.live_counters import LiveCounters
from recbole_tinynews.serving.loading import load
from recbole_tinynews.serving.ranker import Ranker
from recbole_tinynews.serving.store import Store

HOURS_BEFORE_THE_END = (0, 6, 12, 30, 50)
NEW, TITLE = "new", "Stor brand i centrum af byen"


def places(ranker: Ranker, events: list[Event], clicks: list[int], hours: int) -> list[int]:
    """The new article's places after so many clicks, ascending, one moment."""
    until = events[-1].time - 3600 * hours
    assert ranker.engine.counting is not None
    counters = ranker.counters = LiveCounters(Store(":memory:"), [ranker.engine.counting])
    counters.add_past(events[: bisect.bisect_left([each.time for each in events], until)])
    found, done = [], 0
    for number in clicks:
        readers = range(done, number)
        more = [
            Event(f"{NEW} {n}", CLICK, NEW, f"reader {n}", until + 59 * n // clicks[-1])
            for n in readers
        ]
        assert counters.add(more, now=until + 60).counted == len(more)
        done = number
        best = ranker.top([], k=len(ranker.news_ids), at=until + 61)
        found.append(1 + [each.candidate for each in best].index(NEW))
    return found


def main() -> None:
    """Print a table with a row for each recommender and moment."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--data", type=Path, required=True, help="a data set's atomic files")
    parser.add_argument("--clicks", default="0,30,300,1000", help="(default: %(default)s)")
    given = parser.parse_args()
    clicks = sorted(map(int, given.clicks.split(",")))
    figures = {}
    print(f"| recommender, hours before the end | {' | '.join(map(str, clicks))} |")
    print(f"| --- |{' ---: |' * len(clicks)}")
    events = [*data_set_events(given.data)]
    for folder in given.folders:
        ranker = load(folder)
        news = read_news_file(given.data / f"{given.data.name}.item")
        ranker.add_news(news, show_progress=False)
        ranker.add_news({NEW: {"title": TITLE}})
        for hours in HOURS_BEFORE_THE_END:
            found = places(ranker, events, clicks, hours)
            name = f"{folder.name.partition('-')[0]}, {hours}"
            print(f"| {name} | {' | '.join(map(str, found))} |", flush=True)
            figures[name] = found
    finish("new_article", {"clicks": clicks, **figures})


if __name__ == "__main__":
    main()
