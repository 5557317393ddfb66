"""The command line of ``run_recbole.py``; nothing heavy is imported before it is parsed."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from typing import Any

ONCE_CORRECTED = (
    "Finished stages are kept: once that is corrected, the same command resumes from there."
)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """RecBole's command line: its flags, and ``--key=value`` for any setting.

    A mistake in the settings, or a disk that is full, ends the program with its message alone.
    """
    parser = argparse.ArgumentParser(
        description="Train and evaluate a news recommender.",
        epilog="Any setting: --key=value, e.g. --epochs=2 or --finetune_teacher_epochs=1.",
        allow_abbrev=False,
    )
    parser.add_argument("--model", "-m", help="name of a model (default: TinyNewsRec)")
    parser.add_argument("--dataset", "-d", help="name of a data set (default: mind-mini)")
    parser.add_argument("--config_files", help="yaml files, separated by spaces")
    for flag, meaning in (
        ("--nproc", "processes on this machine"),
        ("--ip", "address of the first machine"),
        ("--port", "port of the first machine"),
        ("--world_size", "processes on all machines"),
        ("--group_offset", "first rank on this machine"),
    ):
        parser.add_argument(flag, help=f"{meaning} (not yet: one process only)")
    given, settings = parser.parse_known_args(sys.argv[1:] if arguments is None else arguments)
    for flag in ("nproc", "ip", "port", "world_size", "group_offset"):
        if getattr(given, flag) is not None:
            settings.append(f"--{flag}={getattr(given, flag)}")
    files = given.config_files.split() if given.config_files else None
    try:
        from recbole_tinynews import run  # takes seconds

        return run(given.model, given.dataset, files, command_line=settings)
    except KeyboardInterrupt as stop:
        again = shlex.join(each for each in (arguments or sys.argv[1:]) if not _starts_anew(each))
        kept = str(stop) or "nothing is kept"
        parser.exit(130, f"\nStopped; {kept}. To resume: {_program()} {again}\n")
    except (ValueError, FileNotFoundError, ModuleNotFoundError) as mistake:
        parser.exit(1, f"{parser.prog}: {mistake}\n")
    except OSError as problem:
        parser.exit(1, f"{parser.prog}: {problem}\n{ONCE_CORRECTED}\n")


def _starts_anew(argument: str) -> bool:
    """Whether it would train again what is kept."""
    return argument.partition("=")[0] == "--fresh"


def _program() -> str:
    """How the program was called: by a name of its own, or as a file that Python runs."""
    called = sys.argv[0]
    return f"python {shlex.quote(called)}" if called.endswith(".py") else called


if __name__ == "__main__":
    main()
