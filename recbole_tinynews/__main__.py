"""Commands of the package: ``recbole-tinynews``, or ``python -m recbole_tinynews``.

``run``, the command line of ``run_recbole.py``, is here; others are modules with a ``main``.
"""

from __future__ import annotations

import argparse
import importlib
import os
import runpy
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from recbole_tinynews import __version__
from recbole_tinynews.cli import command_parser, one_line_errors, program, slow_imports
from recbole_tinynews.processes.launch import launch
from recbole_tinynews.settings.values import suggest

if TYPE_CHECKING:
    from recbole_tinynews.settings.run_settings import RunSettings

CONVERT, RUN = "convert", "run"
# the module whose ``main`` runs it, or a program, and its meaning
COMMANDS = {
    CONVERT: ("convert", "turn MIND, other data sets or a log of yours into a data set"),
    RUN: ("", "train and evaluate a recommender"),
    "student": (
        "pipeline.aligned_student",
        "make a small recommender from a language model and articles alone",
    ),
    "encode": ("pipeline.encode", "write vectors of articles by a language model, for students"),
    "search": ("search.search_command", "find the settings with the best validation metric"),
    "benchmark": ("benchmark.benchmark_command", "train and measure systems side by side"),
    "serve": ("serving.serve", "rank over HTTP, with a page"),
    "events": ("serving.bad_events", "list held events of a service, and take wrong ones out"),
    "update": ("pipeline.update", "train a finished recommender further on newer clicks"),
    "score": ("serving.score", "rank articles for every reader in a file"),
    "export": ("export.export_command", "write a Hugging Face or ONNX model"),
}
GROUPS = {CONVERT: "Data", RUN: "Train and compare", "serve": "Use a finished recommender"}
OWN = "--import MODULE before COMMAND makes recommenders of your own known, from this folder too."
ONCE_CORRECTED = (
    "Finished stages are kept: once that is corrected, the same command resumes from there."
)
LOST_FIRST = 1.0  # seconds for the launcher to notice and name a lost process


def main() -> Any:
    """Run the command named by the first argument with the others, and return its status."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name == "--import" and len(arguments) > 1:
        module, name, *arguments = arguments
        sys.path.insert(0, os.getcwd())
        with one_line_errors("--import", mistakes=(ImportError,)), slow_imports():
            importlib.import_module(module)
    if name == "--version":
        print(__version__)
    elif name in ("--help", "-h"):
        print(_usage())
    elif name not in COMMANDS:
        print(f"{_usage()}\n{_unknown(sys.argv[1:])}", file=sys.stderr)
        sys.exit(2)
    else:
        sys.argv = [f"recbole-tinynews {name}", *arguments]
        if name == RUN:
            run_recbole(arguments or ["--help"])  # a training is asked for, not stumbled into
        elif name == CONVERT:  # a program of its own, which handles signals
            runpy.run_module("recbole_tinynews.convert", run_name="__main__")
        else:
            return importlib.import_module(f"recbole_tinynews.{COMMANDS[name][0]}").main()
    return None


def _usage() -> str:
    lines = ["usage: recbole-tinynews COMMAND ..."]
    for name, (_, meaning) in COMMANDS.items():
        if name in GROUPS:
            lines += ["", f"{GROUPS[name]}:"]
        lines.append(f"  {name:<12}{meaning}")
    return "\n".join([*lines, "", "COMMAND --help lists the arguments of a command.", OWN])


def _unknown(arguments: list[str]) -> str:
    name = arguments[0]
    hint = suggest(name, COMMANDS)
    if name.startswith("-"):
        hint = f" Did you mean recbole-tinynews run {' '.join(arguments)}?"
    return f"recbole-tinynews: expected one of these commands, got {name!r:.100}.{hint}"


def run_recbole(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """RecBole's command line: its flags, and ``--key=value``; heavy imports follow parsing."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = _run_parser()
    given, settings = parser.parse_known_args(arguments)
    again = [e for e in arguments if e.partition("=")[0] != "--fresh"]
    hint = f" To resume: {program()} {shlex.join(again)}"
    name = parser.prog
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:  # the launcher reports interruptions
        name = f"{name} (process {os.environ['RANK']})"
        # a second interrupt, from torchrun, would break off the clean-up; saved files are complete
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    with one_line_errors(name, hint=hint), _problems_of_processes():
        if given.list_models or given.list_settings is not None or given.explain is not None:
            _print_page(given)
            return {}
        if given.world_size > 1 or given.group_offset:
            raise ValueError(
                "--world_size and --group_offset start no process: on this machine --nproc=N does, "
                "on several machines torchrun (docs/scale.md)."
            )
        from recbole_tinynews.settings.registry import read_settings  # needs RecBole's files

        files = given.config_files.split() if given.config_files else None
        read = read_settings(given.model, given.dataset, files, command_line=settings)
        read.refuse()
        if given.nproc < 1:
            raise ValueError(f"--nproc must be at least 1, got {given.nproc}.")
        if given.nproc > 1:
            _start(given, read, settings)
            return {}
        with slow_imports():
            from recbole_tinynews.pipeline.config import NewsConfig
            from recbole_tinynews.pipeline.quick_start import run_config
            from recbole_tinynews.processes.group import leave

        result = run_config(NewsConfig(settings=read))
        leave()
        return result


@contextmanager
def _problems_of_processes() -> Iterator[None]:
    """Name a lost process; say after a problem of the disk that finished stages are kept."""
    try:
        yield
    except (FileNotFoundError, BrokenPipeError):
        raise
    except OSError as problem:
        raise ValueError(f"{problem}\n{ONCE_CORRECTED}") from problem
    except RuntimeError as problem:
        from recbole_tinynews.processes.group import lost_process

        lost = lost_process(problem)
        if lost is None:
            raise
        time.sleep(LOST_FIRST)
        raise ValueError(lost) from problem


def _run_parser() -> argparse.ArgumentParser:
    parser = command_parser(
        description="Train and evaluate a news recommender.",
        epilog="Any setting: --key=value, e.g. --epochs=2 or --finetune_teacher_epochs=1.",
    )
    add = parser.add_argument
    add("--model", "-m", help="name of a model (default: TinyNewsRec)")
    add("--dataset", "-d", help="name of a data set (default: mind-mini)")
    add("--config_files", help="yaml files, separated by spaces")
    add("--nproc", type=int, default=1, help="processes on this machine (default: 1)")
    for name in ("ip", "port"):  # RecBole's, for several machines
        add(f"--{name}", help=argparse.SUPPRESS)
    for name in ("world_size", "group_offset"):
        add(f"--{name}", type=int, default=0, help=argparse.SUPPRESS)
    lookup = parser.add_argument_group("lookup, without data")
    lookup.add_argument("--list-models", action="store_true", help="every model, one line each")
    lookup.add_argument(
        "--list-settings",
        nargs="?",
        const="",
        metavar="MODEL",
        help="every setting of a model, with default and meaning",
    )
    lookup.add_argument("--explain", metavar="SETTING", help="everything about one setting")
    return parser


def _print_page(given: argparse.Namespace) -> None:
    from recbole_tinynews.settings import reference
    from recbole_tinynews.settings.registry import DEFAULT_MODEL

    if given.list_models:
        page = reference.model_list()
    elif given.explain is not None:
        page = reference.explanation(given.explain)
    else:
        page = reference.setting_list(given.list_settings or given.model or DEFAULT_MODEL)
    try:
        print(page, flush=True)
    except BrokenPipeError:  # as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _start(given: argparse.Namespace, read: RunSettings, settings: list[str]) -> None:
    from recbole_tinynews.pipeline.config import NewsConfig, one_process_alone
    from recbole_tinynews.settings.registry import has_language_model

    config = NewsConfig(settings=read)
    if not has_language_model(config.model_class):  # told once, not by each process
        raise ValueError(one_process_alone(config["model"]))
    named = ("model", "dataset", "config_files")
    flags = [f"--{name}={value}" for name in named if (value := getattr(given, name)) is not None]
    try:
        launch(given.nproc, "recbole_tinynews", [RUN, *flags, *settings])
    except KeyboardInterrupt:
        raise KeyboardInterrupt("finished stages and saved steps are kept") from None


if __name__ == "__main__":
    sys.exit(main())
