"""Rank a site's articles for all its readers, on as many machines as a Ray cluster has.

    python examples/rank_with_ray.py STUDENT news.parquet users.parquet out [--workers=16]

The articles are encoded here, once, and sent to every worker with the recommender; a worker ranks a
batch of readers at a time. Files of readers are on a disk, or in a store, that all machines see.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_tinynews import load


class Best:
    """A recommender that a worker receives once."""

    def __init__(self, ranker: Any) -> None:
        self.ranker = ranker

    def __call__(self, readers: pd.DataFrame) -> pd.DataFrame:
        """The best 50 articles for each of some readers."""
        return self.ranker.rank_table(readers, top=50)


def main() -> None:
    """Rank for every reader, and write one folder of parquet files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recommender", type=Path, help="folder of a finished recommender")
    parser.add_argument("news", type=Path, help="id, title: a parquet file")
    parser.add_argument("users", type=Path, help="user_id, history: a parquet file or a folder")
    parser.add_argument("output", type=Path, help="folder for the rankings")
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    import ray.data  # takes seconds

    ranker = load(given.recommender)
    ranker.add_news(pd.read_parquet(given.news))
    readers = ray.data.read_parquet(str(given.users.absolute()))
    rankings = readers.map_batches(
        Best,
        fn_constructor_args=(ranker,),
        batch_format="pandas",
        batch_size=4096,
        concurrency=given.workers,
    )
    rankings.write_parquet(str(given.output.absolute()))


if __name__ == "__main__":
    main()
