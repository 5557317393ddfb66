"""Command line of ``run_recbole.py``; heavy imports follow parsing."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from recbole_tinynews.cli import command_parser, program
from recbole_tinynews.processes.launch import ProcessFailedError, launch, machine_flags

if TYPE_CHECKING:
    from recbole_tinynews.settings.layers import Settings

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
    several = int(os.environ.get("WORLD_SIZE", 1)) > 1
    name = f"{parser.prog} (process {os.environ['RANK']})" if several else parser.prog
    if several:  # the launcher reports interruptions
        # a second interrupt, from torchrun, would break off the clean-up; saved files are complete
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    try:
        from recbole_tinynews.registry import read_settings  # needs RecBole's files

        read = read_settings(given.model, given.dataset, files, command_line=settings)
        read.refuse()
        of_machines = given.nproc, given.world_size, given.group_offset, given.ip, given.port
        machines = machine_flags(*of_machines)
        if max(given.nproc, given.world_size) > 1:
            return _start(machines, given, read, settings)
        from recbole_tinynews.config import NewsConfig  # takes seconds
        from recbole_tinynews.quick_start import run_config

        result = run_config(NewsConfig(settings=read))
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
    for flag, default, meaning in (
        ("--nproc", 1, "processes on this machine (default: 1)"),
        ("--world_size", -1, "processes on all machines (default: nproc)"),
        ("--group_offset", 0, "processes on the machines before this one (default: 0)"),
        ("--port", 5678, "port of the first machine (default: 5678)"),
    ):
        add(flag, type=_whole, default=default, help=meaning)
    add("--ip", default="localhost", help="address of the first machine (default: localhost)")
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


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, got {text}") from None


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
    machines: list[str], given: argparse.Namespace, read: Settings, settings: list[str]
) -> dict[str, Any]:
    from recbole_tinynews.config import NewsConfig, one_process_alone
    from recbole_tinynews.registry import has_language_model

    config = NewsConfig(settings=read)
    if not has_language_model(config.model_class):  # told once, not by each process
        raise ValueError(one_process_alone(config["model"]))
    named = ("model", "dataset", "config_files")
    flags = [f"--{name}={value}" for name in named if (value := getattr(given, name)) is not None]
    try:
        launch(given.nproc, "recbole_tinynews.command", [*flags, *settings], machines)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("finished stages and saved steps are kept") from None
    return {}


if __name__ == "__main__":
    main()
