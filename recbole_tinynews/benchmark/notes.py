"""Lines under the table of a benchmark: the data set, and how speed was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence


def notes_of(dataset: str, rows: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """What the rows of ``results.csv`` have in common.

    Args:
        dataset: name of the data set.
        rows: those that the table shows.
    """
    impressions = sorted({row["impressions"] for row in rows if row["impressions"]})
    yield f"Data set {dataset}: {' or '.join(impressions) or 'no'} test impressions."
    of_speed = [row for row in rows if row["news_per_second"]]
    where = sorted({(row["device"], row["threads"], row["precision"]) for row in of_speed})
    for device, threads, precision in where:
        yield (
            f"Speed: median of 3 runs after one for warm-up, titles of the data set as long as "
            f"they are, {device}, threads: {threads}, precision {precision}, nothing "
            "else of the benchmark running beside it. More of it: speed.md."
        )
