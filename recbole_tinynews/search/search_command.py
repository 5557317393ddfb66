"""The command line of ``run_search.py``; nothing heavy is imported before it is parsed."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Sequence

from recbole_tinynews.cli import command_parser, one_line_errors, program, slow_imports


def main(arguments: Sequence[str] | None = None) -> None:
    """Search for settings; exit with status 1 on mistakes or without a complete trial."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = command_parser(
        description="Search for the settings with the best validation metric, by optuna.",
        epilog="Any setting for all trials: --key=value, e.g. --epochs=2.",
    )
    add = parser.add_argument
    add("--model", "-m", help="name of a model (default: TinyNewsRec)")
    add("--dataset", "-d", help="name of a data set (default: mind-mini)")
    add("--config_files", default="", help="yaml files, separated by spaces")
    add("--space", default="space.yaml", help="yaml file (default: space.yaml)")
    add("--trials", type=int, default=50, help="total, with those of earlier calls (default: 50)")
    add("--startup_trials", type=int, default=5, help="trials before pruning (default: 5)")
    add("--storage", help="address of a database (default: sqlite beside the stages)")
    parsed, settings = parser.parse_known_args(arguments)
    options = vars(parsed)
    files = options.pop("config_files").split() or None
    terminal = logging.StreamHandler()
    terminal.setLevel(logging.WARNING)
    logging.basicConfig(level=logging.INFO, handlers=[terminal])  # files have the trials' full logs
    resume = f" To resume: {program()} {shlex.join(arguments)}"
    with one_line_errors(parser.prog, "finished trials are kept", resume):
        with slow_imports():
            from recbole_tinynews import Search

        search = Search(**options, config_file_list=files, command_line=settings)
        best = search.run()
        if best is None:
            raise ValueError("no trial was completed")
        print(f"best      trial {best.number}, {search.metric} {best.value:.6f} on validation")
