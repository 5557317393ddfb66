"""``recbole-tinynews score``: from a table of readers to a table of rankings, in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recbole_tinynews.cli import command_parser, one_line_errors, slow_imports
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
    with slow_imports():
        from recbole_tinynews.data.atomic_files import read_news_file
        from recbole_tinynews.files.table_files import is_csv, table_parts, write_parts
        from recbole_tinynews.serving.loading import load_reader
        from recbole_tinynews.serving.rank_table import CANDIDATES, EMPTY, HISTORY, ids_of

    tables = table_parts(Path(users), READERS_AT_ONCE)
    as_csv, unknown = is_csv(Path(output)), 0
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
        write_parts(map(rank, tables), place, EMPTY, as_csv)
    return unknown


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
