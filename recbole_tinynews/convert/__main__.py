"""Convert MIND folders into an atomic data set: ``python -m recbole_tinynews.convert``."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

from recbole_tinynews.convert.conversion import convert_mind
from recbole_tinynews.convert.errors import ConversionError, LineError
from recbole_tinynews.convert.report import readable
from recbole_tinynews.convert.settings import LAST_DAY, LAYOUTS, ON_ERROR


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 0, or 1 where nothing was written."""
    flags = vars(_parser().parse_args(arguments))
    begin = time.perf_counter()
    try:
        report = convert_mind(**flags)
    except (ConversionError, OSError) as error:
        status, message = 1, f"Not converted, nothing written: {error}"
        if isinstance(error, LineError):
            message += (
                "\nMend the line, or have bad lines dropped and counted with --on-error=skip."
            )
    except KeyboardInterrupt:
        status, message = 130, "Interrupted: nothing written."
    else:
        print(readable(report))
        print(f"wrote {', '.join(_written(report))} in {time.perf_counter() - begin:.1f} s")
        return 0
    print(message, file=sys.stderr)  # here, where the readers and their progress bars are closed
    return status


def _written(report: dict[str, Any]) -> list[str]:
    datasets = [report["dataset"]]
    if report["flat"] is not None:
        datasets.append(report["flat"]["dataset"])
    return [f"{report['settings']['output']}/{dataset}/" for dataset in datasets]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m recbole_tinynews.convert", description=__doc__, allow_abbrev=False
    )
    folder = "a folder with behaviors.tsv and news.tsv"
    parser.add_argument("--train", required=True, metavar="DIR", help=folder)
    parser.add_argument(
        "--valid",
        default=LAST_DAY,
        metavar="DIR|last-day|FRACTION",
        help="a folder; or the last calendar day (UTC) or the latest fraction of the training "
        "impressions (default: %(default)s)",
    )
    parser.add_argument("--test", metavar="DIR", help=f"{folder}; labels may be missing")
    parser.add_argument("--dataset", required=True, metavar="NAME", help="name of the data set")
    parser.add_argument(
        "--bodies", metavar="FILE", help="tab-separated id, title, body, plain or gzip"
    )
    parser.add_argument(
        "--output", default="dataset", metavar="DIR", help="where DIR/NAME/ goes (%(default)s)"
    )
    parser.add_argument(
        "--on-error",
        choices=ON_ERROR,
        default="stop",
        help="at a bad line: stop, or skip it and count it in the report (default: %(default)s)",
    )
    parser.add_argument(
        "--layout",
        choices=LAYOUTS,
        default="impression",
        help="interaction: also write NAME-flat, a row per candidate, which stock RecBole reads",
    )
    return parser


def _end(signal_number: int, _: object) -> None:
    sys.exit(128 + signal_number)  # an exception, so that temporary files are removed


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    sys.exit(main())
