"""``recbole-tinynews trim``: give a finished recommender a smaller vocabulary."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from recbole_tinynews.cli import command_parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 0, or 1 if nothing was written."""
    parser = command_parser(
        prog="recbole-tinynews trim",
        description="Give a finished recommender a smaller vocabulary.",
    )
    add = parser.add_argument
    add("folder", metavar="FOLDER", help="of the finished recommender")
    add("--output", required=True, metavar="DIR", help="a new or empty folder")
    add(
        "--min_articles",
        type=int,
        default=1,
        metavar="N",
        help="articles of the training impressions that must use a token (default: 1)",
    )
    add("--data_path", metavar="DIR", help="folder that holds the folder of its data set")
    flags = parser.parse_args(arguments)
    try:
        from recbole_tinynews.serving.export.trimming import trim  # slow import

        done = trim(**vars(flags))
    except (ValueError, OSError) as mistake:
        print(f"Not trimmed: {mistake}", file=sys.stderr)
        return 1
    print(
        f"{done.folder}: {done.tokens:,} of {done.tokens_before:,} tokens; {done.losing:,} of "
        f"{done.others:,} other articles lose a token."
    )
    for name, metrics in done.metrics.items():
        print(f"{name:>9}: " + ", ".join(f"{key} {value}" for key, value in metrics.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
