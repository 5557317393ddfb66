"""MIND-large's impressions under the ids of MIND-small's articles, which have most of its titles.

    python benchmarks/mind_by_title.py --of=WIDE/large --to=WIDE/train --output=LARGE

MIND-large and MIND-small number the same articles differently. Articles of ``--of`` whose title
``--to`` has take its id there, and their rows are left out of LARGE's ``news.tsv``, so that both
folders convert together: ``--train=WIDE/train --train=LARGE``. Others keep their ids.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import pandas as pd


def read(file: Path) -> pd.DataFrame:
    """A file of MIND without a header, all columns as text."""
    return pd.read_csv(
        file, sep="\t", header=None, dtype=str, keep_default_na=False, quoting=csv.QUOTE_NONE
    )


def renamed(ids: str, names: dict[str, str]) -> str:
    """Ids, separated by spaces, as they are in ``names``; a candidate's label stays behind it."""
    each = (token.partition("-") for token in ids.split())
    return " ".join(names.get(name, name) + dash + label for name, dash, label in each)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--of", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    if options.output.exists():
        parser.error(f"--output expects a new folder, got {options.output}, which exists.")
    # columns of news.tsv: 0 id, 3 title
    known = read(options.to / "news.tsv").drop_duplicates(3).set_index(3)[0]
    news, behaviors = read(options.of / "news.tsv"), read(options.of / "behaviors.tsv")
    first = news.drop_duplicates(3).set_index(3)[0]
    names = dict(zip(news[0], news[3].map(known).fillna(news[3].map(first)), strict=True))
    for column in (3, 4):  # history, candidates
        behaviors[column] = [renamed(ids, names) for ids in behaviors[column]]
    options.output.mkdir(parents=True)
    kept = news[news[0].map(names) == news[0]]
    for name, table in (("news.tsv", kept), ("behaviors.tsv", behaviors)):
        table.to_csv(
            options.output / name, sep="\t", header=False, index=False, quoting=csv.QUOTE_NONE
        )
    shared = news[3].isin(known.index).sum()
    print(f"{len(behaviors)} impressions; {shared} of {len(news)} articles are in {options.to}")


if __name__ == "__main__":
    main()
