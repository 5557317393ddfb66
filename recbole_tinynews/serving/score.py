"""Command that ranks for all users in a file: ``python -m recbole_tinynews.serving.score``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from recbole_tinynews.processes.launch import command_parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 0, or 1 after an error."""
    parser = command_parser(
        prog="python -m recbole_tinynews.serving.score",
        description="Rank articles for every user of a file. The same command resumes.",
    )
    add = parser.add_argument
    add("--recommender", required=True, metavar="FOLDER", help="folder of a finished recommender")
    add("--news", required=True, metavar="FILE", help="id, title[, abstract]: parquet, csv, .item")
    add("--users", required=True, metavar="FILE", help="user_id, history: parquet, folder, or csv")
    add(
        "--candidates",
        default="all",
        metavar="all|FILE|users",
        help="all articles (default), a file of user_id and candidate, or `users`: a column there",
    )
    add("--top", type=int, default=50, help="how many of the best are kept (default: 50)")
    add("--output", required=True, metavar="DIR", help="gets part-00000.parquet and so on")
    add(
        "--unknown",
        default="stop",
        choices=("stop", "skip"),
        help="what to do about an id that is not among the articles (default: stop)",
    )
    add("--shard", default="1/1", metavar="i/n", help="write every n-th part, from the i-th on")
    add("--device", default="cpu", help="where it computes (default: cpu)")
    given = parser.parse_args(arguments)
    from recbole_tinynews.serving.scoring import Shard, score  # slow import

    try:
        done = score(
            given.recommender,
            given.news,
            given.users,
            given.output,
            None if given.candidates == "users" else given.candidates,
            given.top,
            Shard.parse(given.shard),
            given.device,
            skip_unknown=given.unknown == "skip",
        )
    except (ValueError, TypeError, OSError, ModuleNotFoundError) as mistake:
        print(f"{parser.prog}: {mistake}", file=sys.stderr)
        return 1
    left_out = f", {done.unknown:,} unknown ids left out" if given.unknown == "skip" else ""
    print(
        f"{given.output}: {done.written} parts written ({done.users:,} users{left_out}), "
        f"{done.there} there."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
