"""Check a submission: ``python -m recbole_tinynews.evaluation.submission FILE --behaviors=...``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from recbole_tinynews.evaluation.submission.check import check_submission
from recbole_tinynews.version import VERSION


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 0, or 1 if something is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m recbole_tinynews.evaluation.submission",
        description="Check a submission to a leaderboard, and name its first bad line.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=VERSION)
    parser.add_argument("file", metavar="FILE", help="the zip, or the text file in it")
    parser.add_argument(
        "--behaviors",
        metavar="FILE",
        required=True,
        help="the impressions of the test set: MIND's behaviors.tsv, plain or gzip, or EB-NeRD's "
        "behaviors.parquet",
    )
    flags = parser.parse_args(arguments)
    try:
        checked = check_submission(flags.file, flags.behaviors, sys.stderr.isatty())
    except (ValueError, OSError) as mistake:
        print(mistake, file=sys.stderr)
        return 1
    print(
        f"{flags.file} ranks all {checked.impressions:,} impressions "
        f"({checked.candidates:,} candidates) as they are listed in {flags.behaviors}."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
