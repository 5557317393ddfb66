"""``recbole-tinynews events``: list events that a store holds, or take wrong ones out of it."""

from __future__ import annotations

import json
from argparse import ArgumentTypeError
from collections.abc import Sequence
from contextlib import closing, suppress
from datetime import datetime, timezone
from pathlib import Path

from recbole_tinynews.cli import command_parser, one_line_errors

LIST = (
    "print the events that do not count yet, since they are over a day after the newest that "
    "counts; one a line, as POST /events takes them"
)
DROP = (
    "take all events after this time out of the store, held ones too: UTC seconds or ISO 8601, in "
    "UTC unless it says otherwise (2026-05-31T08:00)"
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; exit with status 1 if there is no such store."""
    parser = command_parser(
        prog="recbole-tinynews events",
        description="List events that a service's store holds, or take wrong ones out of it. "
        "Services may be running.",
        epilog="Docs: docs/serving.md.",
    )
    parser.add_argument("store", metavar="STORE", help="a file or postgresql://USER@HOST/DATABASE")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--list-held", action="store_true", help=LIST)
    what.add_argument("--drop-after", type=_seconds, metavar="TIME", help=DROP)
    flags = parser.parse_args(arguments)
    with one_line_errors(parser.prog):
        if "://" not in flags.store and not Path(flags.store).is_file():
            raise ValueError(f"STORE expects an existing file or a URL, got {flags.store}.")
        from recbole_tinynews.serving.store import Store  # of an extra

        with closing(Store(flags.store)) as store:
            if flags.drop_after is not None:
                print(f"{store.drop_after(flags.drop_after):,} events taken out")
            for event in store.held() if flags.list_held else ():
                print(json.dumps(event._asdict()))


def _seconds(text: str) -> int:
    """UTC seconds as they are, or of a date."""
    from recbole_tinynews.data.popularity import LATEST

    with suppress(ValueError, OverflowError):
        if not text.isdecimal() or len(text) == len("20260531"):
            time = datetime.fromisoformat(text.removesuffix("Z"))
            time = time if time.tzinfo else time.replace(tzinfo=timezone.utc)
            text = str(int(time.timestamp()))
        if 0 <= int(text) <= LATEST:
            return int(text)
    raise ArgumentTypeError(
        f"expects UTC seconds or a date such as 2026-05-31T08:00, got {text!r:.100}"
    )
