"""What all commands share; importing it is quick."""

from __future__ import annotations

import os
import shlex
import sys
from argparse import ArgumentParser
from typing import Any

from recbole_tinynews.version import VERSION

# for GNU's OpenMP, which torch's CPU builds use; see benchmarks/thread_waiting.py
SPINS = "500"


def spin_briefly() -> None:
    """Let idle threads sleep, as spinning slows busy processes; call it before importing torch."""
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = SPINS


def command_parser(**named: Any) -> ArgumentParser:
    """A command's parser, with ``--version``; make it before importing torch."""
    spin_briefly()
    parser = ArgumentParser(allow_abbrev=False, **named)
    parser.add_argument("--version", action="version", version=VERSION)
    return parser


def program() -> str:
    """The command that started this process, for messages on how to rerun it."""
    called = sys.argv[0]
    return f"python {shlex.quote(called)}" if called.endswith(".py") else called
