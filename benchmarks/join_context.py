"""Adds EB-NeRD's pages and visits to a data set that was converted from MIND's format.

    python benchmarks/join_context.py dataset/ebnerd-reader train.parquet test.parquet

The files are EB-NeRD's behaviors.parquet. Rows of the .inter files get the columns
context_article, device, session and subscriber by their impression ids; a second call changes
nothing. Articles have the prefix N in MIND's format.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from recbole_tinynews.files.columns import CONTEXT, IMPRESSION_ID, typed
from recbole_tinynews.files.whole import write_text

COLUMNS = ["impression_id", "article_id", "device_type", "session_id", "is_subscriber"]
COLUMNS += ["read_time", "scroll_percentage"]


def contexts(files: list[str]) -> dict[str, str]:
    """The columns of each impression, joined by tabs, by its id."""
    rows: dict[str, str] = {}
    for file in files:
        table = pd.read_parquet(file, columns=COLUMNS)
        for impression, article, device, session, subscriber, *read in table.itertuples(
            index=False
        ):
            page = "" if pd.isna(article) else f"N{int(article)}"
            numbers = ("" if pd.isna(number) else f"{number:g}" for number in read)
            cells = page, str(device), str(session), str(int(subscriber)), *numbers
            rows[str(impression)] = "\t".join(cells)
    return rows


def main(folder: Path, files: list[str]) -> None:
    """Rewrite the .inter files of a data set."""
    known = contexts(files)
    for file in sorted(folder.glob(f"{folder.name}.*.inter")):
        header, *rows = file.read_text(encoding="utf-8").splitlines()
        if typed(CONTEXT)[0] in header.split("\t"):
            continue
        if not header.startswith(typed([IMPRESSION_ID])[0]):
            raise ValueError(f"{file} must begin with {IMPRESSION_ID}, got {header[:80]!r}.")
        empty = "\t" * (len(CONTEXT) - 1)
        added = [f"{row}\t{known.get(row.partition(chr(9))[0], empty)}" for row in rows]
        unknown = sum(row.partition("\t")[0] not in known for row in rows)
        write_text(file, "\n".join(["\t".join([header, *typed(CONTEXT)]), *added]) + "\n")
        print(f"{file.name}: {len(rows):,} impressions, {unknown:,} of them without a page's row")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
