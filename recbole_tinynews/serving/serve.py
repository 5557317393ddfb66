"""Command that serves finished recommenders over HTTP, with a page to explore them."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from recbole_tinynews.cli import command_parser, one_line_errors, slow_imports

if TYPE_CHECKING:
    from recbole_tinynews.serving.ranker import Ranker
    from recbole_tinynews.serving.store import Store

FOLLOW_SECONDS = 1  # between looks at links to recommenders
TOKEN = "RECBOLE_TINYNEWS_TOKEN"  # in the environment


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until Ctrl-C; exit with status 1 and a message after an error."""
    parser = _parser()
    flags = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    if not 0 <= flags.port < 2**16:  # the system would use it modulo 65,536
        parser.error(f"--port expects 0 to 65535, got {flags.port}.")
    # Ctrl-C during startup; later, uvicorn handles it
    with one_line_errors(parser.prog, mistakes=(TypeError,)):
        _serve(flags)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        description="Serve finished recommenders over HTTP, with a page to explore them.",
        epilog="Docs: docs/serving.md. It has no TLS: keep it behind a proxy that has. SIGTERM and "
        "Ctrl-C finish running requests, SIGHUP reloads everything.",
    )
    add = parser.add_argument
    folders = (
        "of a finished recommender, or a link that is followed to new versions; the page "
        "compares several, and the first is the default"
    )
    store = (
        "keeps articles and events, for the next start and for other processes: a file or "
        "postgresql://USER@HOST/DATABASE (default: in memory, lost when the service ends)"
    )
    token = f"with the bearer token that requests must send (default: that in {TOKEN}, if set)"
    log = "of a data set, whose impressions a new store begins with"
    access_log = "print a line for each request (default: yes)"
    add("folders", metavar="FOLDER", nargs="+", type=Path, help=folders)
    add("--news", type=Path, metavar="FILE", help="articles: .parquet, .csv, .tsv, .item")
    add("--store", default=":memory:", metavar="FILE|URL", help=store)
    add("--log", type=Path, metavar="FOLDER", help=log)
    add("--host", default="127.0.0.1", help="(default: 127.0.0.1, this machine)")
    add("--port", type=int, default=8000, help="(default: 8000; 0: a free one)")
    add("--device", default="cpu", help="(default: cpu)")
    add("--token-file", type=Path, metavar="FILE", help=token)
    add("--access-log", action=argparse.BooleanOptionalAction, default=True, help=access_log)
    return parser


def _serve(flags: Namespace) -> None:
    with slow_imports():
        from recbole_tinynews.serving.service.app import make_app  # of an extra
        from recbole_tinynews.serving.service.server import bound, run
        from recbole_tinynews.serving.service.state import open_state
        from recbole_tinynews.serving.store import Store

    # an address that is taken fails before articles are encoded
    with bound(flags.host, flags.port) as place, closing(Store(flags.store)) as store:
        used = [folder.resolve() for folder in flags.folders]  # links may move during what follows
        state = open_state(_rankers(flags, skip_broken=True), store, flags.news, flags.log)
        app = make_app(state, token=_token(flags.token_file))
        asked = Event()
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, lambda *_: asked.set())
        Thread(target=_reload, args=(flags, used, store, app, asked), daemon=True).start()
        run(app, place, flags.access_log)


def _reload(flags: Namespace, used: list[Path], store: Store, app: Any, asked: Event) -> None:
    """Replace the state of a service when asked, or when a link points to another recommender.

    Requests are answered meanwhile; after an error, nothing changes.
    """
    from recbole_tinynews.serving.service.server import freeze
    from recbole_tinynews.serving.service.state import open_state

    while True:
        is_asked, now = asked.wait(FOLLOW_SECONDS), [folder.resolve() for folder in flags.folders]
        if now == used and not is_asked:
            continue
        asked.clear()
        used = now
        try:
            # a store that lasts has the articles, and what was changed in it since
            news = flags.news if is_asked or store.is_temporary else None
            state = open_state(_rankers(flags), store, news, flags.log)
            state.follow_articles()  # what changed while it was made
        except Exception as problem:
            print(f"not reloaded: {problem}", file=sys.stderr, flush=True)
            continue
        app.state.service = state
        print("reloaded", flush=True)
        time.sleep(FOLLOW_SECONDS)  # until requests of the former state are answered
        freeze()


def _token(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get(TOKEN) or None
    token = file.read_text(encoding="utf-8").strip()
    if not token.isascii() or len(token.split()) != 1:
        raise ValueError(f"{file} expects a token in one word of ASCII, and has something else.")
    return token


def _rankers(flags: Namespace, skip_broken: bool = False) -> dict[str, Ranker]:
    """Recommenders by name; the first one, the default, is never skipped."""
    from recbole_tinynews.serving.loading import load_reader

    rankers: dict[str, Ranker] = {}
    for folder in flags.folders:
        # a link keeps its name when it points to another version
        name = folder.name if folder.is_symlink() else folder.resolve().name
        name = str(folder) if name in rankers else name
        try:
            rankers[name] = load_reader(folder, device=flags.device)
        except (ValueError, FileNotFoundError) as problem:
            if not (skip_broken and rankers):
                raise
            print(f"not served: {problem}", file=sys.stderr, flush=True)
    return rankers
