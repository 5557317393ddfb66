"""Command that serves finished recommenders over HTTP, with a page to explore them."""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_tinynews.cli import command_parser
from recbole_tinynews.files.installation import pip_install
from recbole_tinynews.serving.service import MAX_BODY

if TYPE_CHECKING:
    from recbole_tinynews.serving.ranking import Ranker
    from recbole_tinynews.serving.service.newsroom import Newsroom
    from recbole_tinynews.serving.store import Store

MEMORY = ":memory:"
PARTS = (
    *("fastapi", "uvicorn", "fastapi_offline", "starlette", "pydantic", "prometheus_client"),
    *("sqlalchemy", "psycopg"),
)
PORT = 8000
FOLLOW_SECONDS = 1  # between looks at links to recommenders
TOKEN = "RECBOLE_TINYNEWS_TOKEN"  # in the environment


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until Ctrl-C; exit with status 1 and a message after an error."""
    parser = _parser()
    given = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    if given.index and len(given.index) != len(given.folders):
        parser.error(
            f"--index expects a file for each FOLDER, in their order: {len(given.folders)}, got "
            f"{len(given.index)}."
        )
    if not 0 <= given.port < 2**16:  # the system would use it modulo 65,536
        parser.error(f"--port expects 0 to 65535, got {given.port}.")
    for name in ("max_body", "max_connections", "request_seconds"):
        if not getattr(given, name) > 0:
            flag = f"--{name.replace('_', '-')}"
            parser.error(f"{flag} expects a number above 0, got {getattr(given, name)}.")
    try:
        _serve(given)
    except ModuleNotFoundError as missing:
        if missing.name not in PARTS:
            parser.exit(1, f"{parser.prog}: {missing}\n")
        extra = pip_install("postgres" if missing.name == "psycopg" else "serve")
        parser.exit(1, f"{parser.prog}: {missing.name} is not installed: {extra}\n")
    except (ValueError, TypeError, OSError) as mistake:
        parser.exit(1, f"{parser.prog}: {mistake}\n")
    except KeyboardInterrupt:  # during startup; later, uvicorn handles it
        parser.exit(130, f"{parser.prog}: stopped\n")


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        description="Serve finished recommenders over HTTP, with a page to explore them.",
        epilog="Docs: docs/serving.md. It has no TLS: keep it behind a proxy that has. SIGTERM and "
        "Ctrl-C finish running requests, SIGHUP reloads everything.",
    )
    add = parser.add_argument
    add(
        "folders",
        metavar="FOLDER",
        nargs="+",
        type=Path,
        help="of a finished recommender, or a link that is followed to new versions; the page "
        "compares several, and the first is the default",
    )
    add("--news", type=Path, metavar="FILE", help="articles: .parquet, .csv, .tsv, .item")
    add(
        "--index",
        type=Path,
        metavar="FILE",
        action="append",
        default=[],
        help="keeps the articles' vectors for the next start; one for each FOLDER, in their order",
    )
    add(
        "--store",
        default=MEMORY,
        metavar="FILE|URL",
        help="keeps articles and events, for the next start and for other processes: a file or "
        "postgresql://USER@HOST/DATABASE (default: in memory, lost when the service ends)",
    )
    add(
        "--log",
        type=Path,
        metavar="FOLDER",
        help="of a data set, whose impressions a new store begins with",
    )
    add("--host", default="127.0.0.1", help="(default: 127.0.0.1, this machine)")
    add("--port", type=int, default=PORT, help=f"(default: {PORT}; 0: a free one)")
    add(
        "--max-body",
        type=int,
        default=MAX_BODY,
        metavar="BYTES",
        help=f"largest request body (default: {MAX_BODY})",
    )
    add("--device", default="cpu", help="(default: cpu)")
    add(
        "--approximate",
        choices=["faiss", "usearch"],
        help="approximate search of the best articles: worth it from hundreds of thousands on",
    )
    add(
        "--max-connections",
        type=int,
        default=500,
        metavar="N",
        help="further ones are closed with a 503 (default: 500)",
    )
    add(
        "--request-seconds",
        type=float,
        default=8,
        metavar="S",
        help="time in which a whole request has to arrive (default: 8)",
    )
    add(
        "--token-file",
        type=Path,
        metavar="FILE",
        help=f"with the bearer token that requests must send (default: that in {TOKEN}, if set)",
    )
    add(
        "--access-log",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="print a line for each request (default: yes)",
    )
    return parser


def _serve(given: argparse.Namespace) -> None:
    from recbole_tinynews.serving.service.server import Limits, bound, freeze, run

    with bound(given.host, given.port) as place, ExitStack() as stack:  # fail before encoding
        from recbole_tinynews.serving.service.app import make_app
        from recbole_tinynews.serving.store import Store

        store = stack.enter_context(closing(Store(given.store)))
        app = make_app(_newsroom(given, store), given.max_body, _token(given.token_file))
        reloading = threading.Lock()

        def reload() -> None:
            """Replace the newsroom while requests are answered; after an error, nothing changes."""
            with reloading:
                try:
                    room = _newsroom(given, store, skip_broken=False)
                except Exception as problem:
                    print(f"not reloaded: {problem}", file=sys.stderr, flush=True)
                    return
                app.state.newsroom = room
                room.follow_articles()  # what changed while it was made
                room.follow_events()
                freeze()
                print("reloaded", flush=True)

        if any(folder.is_symlink() for folder in given.folders):
            threading.Thread(target=_follow, args=(given.folders, reload), daemon=True).start()
        limits = Limits(given.max_connections, given.request_seconds)
        run(app, place, limits, given.access_log, reload)


def _follow(links: Sequence[Path], reload: Callable[[], None]) -> None:
    """Reload whenever a symbolic link points to another recommender."""
    before = [link.resolve() for link in links]
    while True:
        time.sleep(FOLLOW_SECONDS)
        now = [link.resolve() for link in links]
        if now != before:
            before = now
            reload()


def _newsroom(given: argparse.Namespace, store: Store, skip_broken: bool = True) -> Newsroom:
    from recbole_tinynews.serving.service.newsroom import open_newsroom

    rankers, indexes = _rankers(given.folders, given.index, given.device, skip_broken)
    _count(rankers, store, given.log)
    room = open_newsroom(rankers, store, given.news, indexes)
    if not room.titles:
        print("no articles yet: name a file with --news=FILE, or send them with PUT /news")
    if given.approximate:
        for each in rankers.values():
            each.approximate(given.approximate)
    return room


def _token(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get(TOKEN) or None
    token = file.read_text(encoding="utf-8").strip()
    if not token.isascii() or len(token.split()) != 1:
        raise ValueError(f"{file} expects a token in one word of ASCII, and has something else.")
    return token


def _count(rankers: Mapping[str, Ranker], store: Store, log: Path | None) -> None:
    from recbole_tinynews.serving.data_set_files import data_set_events
    from recbole_tinynews.serving.live_counters import LiveCounters

    counting = [each.engine.counting for each in rankers.values() if each.engine.counting]
    if not counting:
        if log:
            raise ValueError(
                "--log expects a recommender that counts events: train one with --popularity=added."
            )
        return
    if store.is_temporary:
        print("events are kept in memory, until the service ends: keep them with --store=FILE")
    counters = LiveCounters(store, counting)
    if log:
        counters.add_past(data_set_events(log), if_empty=True)
    for each in rankers.values():
        each.counters = counters


def _rankers(
    folders: Sequence[Path], indexes: Sequence[Path], device: str, skip_broken: bool = True
) -> tuple[dict[str, Ranker], list[Path]]:
    from recbole_tinynews.serving.loading import load_reader

    rankers: dict[str, Ranker] = {}
    kept: list[Path] = []
    for place, folder in enumerate(folders):
        # a link keeps its name when it points to another version
        name = plain = folder.name if folder.is_symlink() else folder.resolve().name
        number = 1
        while name in rankers:
            number += 1
            name = f"{plain} ({number})"
        try:
            rankers[name] = load_reader(folder, device=device)
        except (ValueError, FileNotFoundError) as problem:
            if not skip_broken or (not rankers and place == len(folders) - 1):
                raise  # none is left to serve
            print(f"not served: {problem}", file=sys.stderr, flush=True)
        else:
            kept += indexes[place : place + 1]
    return rankers, kept


if __name__ == "__main__":
    main()
