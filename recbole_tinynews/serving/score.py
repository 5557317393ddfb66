"""``recbole-tinynews score``: from a table of readers to a table of rankings, in one pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from recbole_tinynews.cli import command_parser, one_line_errors
from recbole_tinynews.files.installation import library
from recbole_tinynews.files.lines import untrusted
from recbole_tinynews.files.progress import progress_bar
from recbole_tinynews.files.whole import whole_file

READERS_AT_ONCE = 8_192


def score(
    recommender: str | Path,
    news: str | Path,
    users: str | Path,
    output: str | Path,
    top: int = 50,
    skip_unknown: bool = False,
    device: str = "cpu",
) -> int:
    """Rank articles for every reader in a file; returns how many unknown ids were left out.

    ``users`` and ``output``, parquet or csv, have the columns of ``rank_table``; ``output`` is
    written whole or not at all.
    Raises ``OSError`` for a missing file, ``ValueError`` for a damaged one or an unknown id.
    """
    from recbole_tinynews.serving.article_index import read_news_file
    from recbole_tinynews.serving.loading import load_reader  # slow imports
    from recbole_tinynews.serving.rank_table import CANDIDATES, HISTORY, ids_of

    tables, as_csv, unknown = _read(Path(users)), _is_csv(Path(output)), 0
    ranker = load_reader(Path(recommender), device=device)
    ranker.add_news(read_news_file(Path(news)))
    articles = frozenset(ranker.news_ids)

    def rank(readers: Any) -> Any:
        nonlocal unknown
        for name in readers.columns.intersection([HISTORY, CANDIDATES]) if skip_unknown else ():
            given = readers[name].map(ids_of)
            known = given.map(lambda ids: [each for each in ids if each in articles])
            unknown += sum(given.map(len)) - sum(known.map(len))
            readers = readers.assign(**{name: known})
        return ranker.rank_table(readers, top)

    tables = progress_bar(tables, desc="Score", unit=" readers", unit_scale=READERS_AT_ONCE)
    with whole_file(Path(output)) as place:
        _write(map(rank, tables), place, as_csv)
    return unknown


def _is_csv(path: Path) -> bool:
    if path.suffix not in (".csv", ".parquet"):
        raise ValueError(f"{path} expects a name that ends in .parquet or .csv.")
    return path.suffix == ".csv"


def _read(path: Path) -> Iterable[Any]:
    import pandas as pd

    if _is_csv(path):
        with untrusted(path):
            return pd.read_csv(path, chunksize=READERS_AT_ONCE, dtype=str, keep_default_na=False)
    parquet = library("pyarrow.parquet", "Parquet", "parquet")
    with untrusted(path):
        batches = parquet.ParquetFile(path).iter_batches(READERS_AT_ONCE)
    return (batch.to_pandas() for batch in batches)


def _write(tables: Iterable[Any], path: Path, as_csv: bool) -> None:
    from recbole_tinynews.serving.rank_table import EMPTY

    filled = (table for table in tables if len(table))
    first = next(filled, EMPTY)  # has the types of all
    if as_csv:
        for number, table in enumerate(chain([first], filled)):
            table.to_csv(path, index=False, header=not number, mode="a")
        return
    pa, parquet = (library(n, "Parquet", "parquet") for n in ("pyarrow", "pyarrow.parquet"))
    schema = pa.Schema.from_pandas(first, preserve_index=False)
    with parquet.ParquetWriter(path, schema) as file:
        for table in chain([first], filled):
            file.write_table(pa.Table.from_pandas(table, schema, preserve_index=False))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; exit with status 1 after an error."""
    parser = command_parser(
        prog="recbole-tinynews score", description="Rank articles for every reader in a file."
    )
    add = parser.add_argument
    add("--recommender", required=True, metavar="FOLDER", help="of a finished recommender")
    add("--news", required=True, metavar="FILE", help="id, title[, abstract]: parquet, csv, .item")
    readers = "user_id, history[, candidates]: parquet or csv"
    add("--users", required=True, metavar="FILE", help=readers)
    add("--output", required=True, metavar="FILE", help="the rankings: parquet or csv")
    add("--top", type=int, default=50, help="how many of the best are kept (default: 50)")
    add("--skip-unknown", action="store_true", help="leave out ids of no article, and count them")
    add("--device", default="cpu", help="where it computes (default: cpu)")
    flags = parser.parse_args(arguments)
    with one_line_errors(parser.prog, mistakes=(TypeError,)):
        unknown = score(**vars(flags))
    print(f"{flags.output} is written; {unknown:,} unknown ids were left out.")
