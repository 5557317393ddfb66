"""What all commands share: their parser, and what they say when they end early; quick to import."""

from __future__ import annotations

import gc
import os
import shlex
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from recbole_tinynews import __version__

# for GNU's OpenMP, which torch's CPU builds use; see benchmarks/thread_waiting.py
SPINS = "5000"
# the extra that brings a package that a command misses
_EXTRAS = {
    **dict.fromkeys(("fastapi", "uvicorn", "fastapi_offline", "starlette", "pydantic"), "serve"),
    **dict.fromkeys(("prometheus_client", "sqlalchemy"), "serve"),
    **{"psycopg": "postgres", "optuna": "search"},
}


def command_parser(**named: Any) -> ArgumentParser:
    """A command's parser, with ``--version``; make it before importing torch."""
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = SPINS  # idle threads sleep soon: they slow busy processes
    parser = ArgumentParser(allow_abbrev=False, **named)
    parser.add_argument("--version", action="version", version=__version__)
    return parser


@contextmanager
def slow_imports() -> Iterator[None]:
    """Import torch and what needs it, in three quarters of the time.

    What a first import makes stays: no collection looks for garbage in it, then or later.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def program() -> str:
    """The command that started this process, for messages on how to rerun it."""
    called = sys.argv[0]
    return f"python {shlex.quote(called)}" if called.endswith(".py") else called


@contextmanager
def one_line_errors(
    name: str,
    kept: str = "nothing is kept",
    hint: str = "",
    mistakes: tuple[type[Exception], ...] = (),
) -> Iterator[None]:
    """End the process with a line instead of a traceback: status 1 for a mistake, 130 for Ctrl-C.

    ``name`` is the command's; ``kept`` says what an interruption leaves, where the exception does
    not, and ``hint`` how to continue; ``mistakes`` are exceptions beside ``ValueError``,
    ``OSError`` and missing packages.
    """
    caught: tuple[type[Exception], ...] = (ValueError, OSError, *mistakes)
    try:
        yield
    except KeyboardInterrupt as stop:
        status, line = 130, f"\nStopped; {str(stop) or kept}.{hint}"
    except ModuleNotFoundError as missing:
        extra = _EXTRAS.get(missing.name or "")
        status, line = 1, f"{name}: {missing}"
        if extra is not None:
            from recbole_tinynews.files.installation import pip_install

            line = f"{name}: {missing.name} is not installed. Run: {pip_install(extra)}"
    except caught as mistake:
        status, line = 1, f"{name}: {mistake}"
    else:
        return
    print(line, file=sys.stderr, flush=True)
    sys.exit(status)
