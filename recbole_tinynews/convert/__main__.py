"""Convert news and clicks into atomic data sets: ``python -m recbole_tinynews.convert``."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Any, cast

from recbole_tinynews import __version__
from recbole_tinynews.convert import release
from recbole_tinynews.convert.conversion import LAYOUTS, ON_ERROR, convert_news
from recbole_tinynews.convert.errors import ConversionError, LineError
from recbole_tinynews.convert.readers import READERS
from recbole_tinynews.convert.readers.click_log import ROWS
from recbole_tinynews.convert.readers.reader import LAST_DAY, Options
from recbole_tinynews.convert.release import DEFAULT_FOLDER, RELEASES


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0, 1 if nothing was written, or 130 if interrupted."""
    flags = _flags(arguments)
    begin = time.perf_counter()
    try:
        report = convert_news(**_with_download(**flags))
    except (ConversionError, ModuleNotFoundError) as error:
        status, message = 1, f"Not converted, nothing written: {error}"
        if isinstance(error, LineError):
            hint = "Correct the line, or have bad lines dropped and counted with --on-error=skip."
            message += f"\n{hint}"
    except KeyboardInterrupt:
        status = 130
        message = "Interrupted: no incomplete file has its final name."
    else:
        print(*summary(report), sep="\n")
        data_sets = [part["dataset"] for part in (report, report["flat"]) if part is not None]
        written = ", ".join(f"{report['settings']['output']}/{name}/" for name in data_sets)
        print(f"wrote {written} in {time.perf_counter() - begin:.1f} s")
        return 0
    print(message, file=sys.stderr)  # after the progress bars are closed
    return status


def _flags(arguments: Sequence[str] | None) -> dict[str, Any]:
    parser = _parser()
    flags = vars(parser.parse_args(arguments))
    if flags["download"] is None:
        for name in ("train", "dataset"):
            if flags[name] is None:
                parser.error(f"--{name} is required without --download")
        for name in ("download_dir", "download_url"):
            if flags[name] is not None:
                parser.error(f"--{name.replace('_', '-')} expects --download={'|'.join(RELEASES)}")
    elif flags["format"] != "mind":
        parser.error("--download converts MIND: leave --format out")
    elif flags["train"] is not None:
        parser.error("--download provides the training set: pass --download or --train")
    return flags


def _with_download(
    download: str | None, download_dir: str | None, download_url: str | None, **flags: Any
) -> dict[str, Any]:
    """Arguments of ``convert_news``; a downloaded release supplies defaults."""
    defaults: dict[str, Any] = {"valid": LAST_DAY}
    if download is not None:
        folder = DEFAULT_FOLDER if download_dir is None else Path(download_dir)
        splits = release.download(download, folder, download_url)
        defaults = {**splits, "dataset": f"mind-{download}"}
    return flags | {name: value for name, value in defaults.items() if flags[name] is None}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="recbole-tinynews convert", description=__doc__, allow_abbrev=False
    )
    add = parser.add_argument
    add("--version", action="version", version=__version__)
    _add_source(parser)
    add(
        "--train",
        metavar="PLACE",
        action="append",
        help="folder or file in the format; repeat the flag to pool several",
    )
    add(
        "--valid",
        metavar="PLACE|last-day|FRACTION",
        help="another folder or file; or the last calendar day (UTC) or the latest fraction of the "
        "training impressions (default: last-day; with --download=large its dev folder)",
    )
    add(
        "--test",
        metavar="PLACE",
        action="append",
        help="another folder or file, which may be unlabelled; repeat the flag to pool several",
    )
    add(
        "--dataset",
        metavar="NAME",
        help="name of the data set (default for a download: mind-demo, ...)",
    )
    add("--bodies", metavar="FILE", help="tab-separated id, title, body, plain or gzip")
    add("--output", default="dataset", metavar="DIR", help="where DIR/NAME/ goes (%(default)s)")
    add(
        "--on-error",
        choices=ON_ERROR,
        default="stop",
        help="on a bad line: stop, or skip and count it (default: %(default)s)",
    )
    add(
        "--layout",
        choices=LAYOUTS,
        default="impression",
        help="interaction: also write NAME-flat, a row per candidate, for stock RecBole, which "
        "reads it with benchmark_filename: [train, valid, test]",
    )
    add(
        "--download",
        choices=RELEASES,
        help="download (if needed) and convert this release of MIND, with dev as the test set "
        "(large: dev for validation, and the unlabelled test set)",
    )
    add("--download-dir", metavar="DIR", help=f"where downloads are kept ({DEFAULT_FOLDER})")
    add("--download-url", metavar="URL", help="a mirror to download from")
    return parser


def _add_source(parser: argparse.ArgumentParser) -> None:
    add, defaults = parser.add_argument, Options()
    add(
        "--format",
        default=defaults.format,
        choices=READERS,
        help="input format; " + "; ".join(f"{name}: {r.expects}" for name, r in READERS.items()),
    )
    add(
        "--columns",
        type=_columns,
        metavar="ROLE=NAME,...",
        help="table: columns by role, where the names differ",
    )
    add(
        "--news",
        metavar="FILE",
        action="append",
        default=[],
        help="table: file of articles; may be repeated",
    )
    add(
        "--sampled",
        type=int,
        default=defaults.sampled,
        metavar="N",
        help="candidates to sample for a click without any (default: %(default)s)",
    )
    add(
        "--seed",
        type=int,
        default=defaults.seed,
        help="of sampling and shuffling (default: %(default)s)",
    )
    add("--rows", choices=ROWS, help="table: what a row is (default: recognised by its cells)")


def _columns(text: str) -> dict[str, str]:
    """Parse ``ROLE=NAME,...``.

    >>> _columns("user=reader,time=ts")
    {'user': 'reader', 'time': 'ts'}
    """
    pairs = [part.partition("=") for part in text.split(",")]
    columns = {role: name for role, _, name in pairs}
    if not all(role and name for role, _, name in pairs) or len(columns) < len(pairs):
        raise argparse.ArgumentTypeError(f"expected ROLE=NAME,... with each role once, got {text}")
    return columns


_NOTES = {  # by sections of the report
    ("news", "filled"): "repeats with a field that is empty in one row, filled from the other",
    ("ids_without_news_row", "ids"): "ids without a news row, kept with empty text",
    ("news", "empty_titles"): "empty titles",
    ("texts_changed",): "texts with a tab or line end inside, now a space",
    ("skipped_lines", "total"): "bad lines dropped",
    ("sampled_candidates", "impressions"): (
        "impressions with sampled candidates, not those that were shown"
    ),
    ("bodies", "items_without_body"): "items without body",
    ("articles_whose_text_changed", "ids"): "articles whose text changed, the first one kept",
}


def summary(report: dict[str, Any]) -> Iterator[str]:
    """Lines of text on a conversion's report."""
    for path, table in report.get("tables", {}).items():
        yield f" rows: {path} is a table of {table['rows']}: {table['recognised_by']}"
    for split, part in report["impressions"].items():
        known = part["clicks_on_history"]
        yield (
            f"{split:>5}: {part['impressions']:,} impressions, {part['candidates']:,} candidates, "
            + ("no labels" if part["unlabelled"] else f"{part['clicks']:,} clicks")
            + f", {part['first_time']} to {part['last_time']}"
            + (f"; {known:,} clicks on articles of the history" if known else "")
        )
    yield f" news: {report['news']['distinct']:,}, {report['items']:,} items"
    for names, what in _NOTES.items():
        count: Any = report
        for name in names:
            count = (count or {}).get(name, 0)
        count = sum(count.values()) if isinstance(count, dict) else count
        if count:
            yield f" note: {count:,} {what}"


def _end(signal_number: int, _: object) -> None:
    sys.exit(128 + signal_number)  # SystemExit: temporary files are removed


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    for stream in (sys.stdout, sys.stderr):  # file names may be unprintable
        cast(TextIOWrapper, stream).reconfigure(errors="backslashreplace")
    sys.exit(main())
