"""Command line of ``run_recbole.py``; heavy imports follow parsing."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from recbole_tinynews.processes.launch import (
    Machines,
    ProcessFailedError,
    command_parser,
    launch,
    process_label,
)
from recbole_tinynews.settings.command_line import program

ONCE_CORRECTED = (
    "Finished stages are kept: once that is corrected, the same command resumes from there."
)
LOST_FIRST = 1.0  # seconds for the launcher to notice and name a lost process


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """RecBole's command line: its flags, and ``--key=value``; errors have no traceback."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = _parser()
    given, settings = parser.parse_known_args(arguments)
    if given.list_models or given.list_settings is not None or given.explain is not None:
        _print_page(parser, given)
        return {}
    files = given.config_files.split() if given.config_files else None
    name = parser.prog + process_label()
    if process_label():  # the launcher reports interruptions
        # a second interrupt, from torchrun, would break off the clean-up; saved files are complete
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    try:
        from recbole_tinynews.reference.check import check_command  # needs RecBole's files

        check_command(given.model, files, settings)
        machines = Machines.from_flags(vars(given))
        if machines.everywhere > 1:
            return _start(machines, given, files, settings)
        from recbole_tinynews import run  # takes seconds

        result = run(given.model, given.dataset, files, command_line=settings)
    except KeyboardInterrupt as stop:
        again = [e for e in arguments if e.partition("=")[0] != "--fresh"]
        kept = str(stop) or "nothing is kept"
        parser.exit(130, f"\nStopped; {kept}. To resume: {program()} {shlex.join(again)}\n")
    except (ValueError, FileNotFoundError, ModuleNotFoundError, ProcessFailedError) as mistake:
        parser.exit(1, f"{name}: {mistake}\n")
    except OSError as problem:
        parser.exit(1, f"{name}: {problem}\n{ONCE_CORRECTED}\n")
    except RuntimeError as problem:
        from recbole_tinynews.processes.group import lost_process

        lost = lost_process(problem)
        if lost is None:
            raise
        time.sleep(LOST_FIRST)
        parser.exit(1, f"{name}: {lost}\n")
    from recbole_tinynews.processes.group import leave

    leave()
    return result


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        description="Train and evaluate a news recommender.",
        epilog="Any setting: --key=value, e.g. --epochs=2 or --finetune_teacher_epochs=1.",
    )
    add = parser.add_argument
    add("--model", "-m", help="name of a model (default: TinyNewsRec)")
    add("--dataset", "-d", help="name of a data set (default: mind-mini)")
    add("--config_files", help="yaml files, separated by spaces")
    for flag, meaning in (
        ("--nproc", "processes on this machine (default: 1)"),
        ("--world_size", "processes on all machines (default: nproc)"),
        ("--group_offset", "processes on the machines before this one (default: 0)"),
        ("--ip", "address of the first machine (default: localhost)"),
        ("--port", "port of the first machine (default: 5678)"),
    ):
        add(flag, help=meaning)
    lookup = parser.add_argument_group("lookup, without data")
    lookup.add_argument("--list-models", action="store_true", help="every model, one line each")
    lookup.add_argument(
        "--list-settings",
        nargs="?",
        const="",
        metavar="MODEL",
        help="every setting, of one model or of all, with default and meaning",
    )
    lookup.add_argument("--explain", metavar="SETTING", help="everything about one setting")
    return parser


def _print_page(parser: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    from recbole_tinynews.reference import pages

    try:
        if given.list_models:
            page = pages.model_list()
        elif given.explain is not None:
            page = pages.explanation(given.explain)
        else:
            page = pages.setting_list(given.list_settings or given.model or "")
        print(page, flush=True)
    except (ValueError, ModuleNotFoundError) as mistake:
        parser.exit(1, f"{parser.prog}: {mistake}\n")
    except BrokenPipeError:  # as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _start(
    machines: Machines, given: argparse.Namespace, files: list[str] | None, settings: list[str]
) -> dict[str, Any]:
    # from the module by its name: as a program it is __main__, which no other process can import
    from recbole_tinynews.command import _check as check_of

    check = partial(check_of, given.model, given.dataset, files, settings)
    named = ("model", "dataset", "config_files")
    flags = [f"--{name}={value}" for name in named if (value := getattr(given, name)) is not None]
    try:
        launch(machines, __file__, [*flags, *settings], check)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("finished stages and saved steps are kept") from None
    return {}


def _check(model: str, dataset: str, files: list[str] | None, settings: list[str]) -> None:
    from recbole_tinynews.config import NewsConfig
    from recbole_tinynews.registry import has_language_model
    from recbole_tinynews.settings.mistakes import one_process_alone

    config = NewsConfig(model, dataset, files, command_line=settings)
    if not has_language_model(config.model_class):
        raise ValueError(one_process_alone(config["model"]))


if __name__ == "__main__":
    main()
