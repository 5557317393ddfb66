"""The command line of ``run_benchmark.py``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from recbole_tinynews.cli import command_parser, one_line_errors, slow_imports
from recbole_tinynews.settings.literals import parse_command_line, parse_value
from recbole_tinynews.settings.values import COUNT, list_of, refuse


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a benchmark; exit with status 1 on mistakes or if a system failed."""
    parser = command_parser(
        description="Train and measure systems side by side; write tables and a figure.",
        epilog="Any setting for all systems that have it: --key=value, e.g. --plm=FOLDER.",
    )
    add = parser.add_argument
    add("--suite", default="paper", help="name or yaml file (default: paper)")
    add("--dataset", "-d", default="mind-mini", help="name (default: mind-mini)")
    add("--seeds", help="such as 1,2,3 (default: those of the suite)")
    add(
        "--systems",
        default="",
        help="labels, models or groups of the suite's rows, separated by commas (default: all); "
        "+PopularNow adds that model, +path/to/file.py:Class a recommender of your own",
    )
    add("--jobs", type=int, default=1, help="trainings in parallel, without speeds (default: 1)")
    add("--output", help="folder (default: benchmarks/results/ and that of the suite)")
    add(
        "--report-only",
        action="store_true",
        help="run nothing: write tables, tests and figure of existing results with these settings "
        "and data",
    )
    parsed, rest = parser.parse_known_args(sys.argv[1:] if arguments is None else arguments)
    options: dict[str, Any] = vars(parsed)
    settings, report_only = parse_command_line(rest), options.pop("report_only")
    with one_line_errors(parser.prog, "rows and steps are kept", " The same command resumes."):
        refuse("The command line has mistakes:", settings.mistakes)
        if options["jobs"] < 1:
            raise ValueError(f"--jobs must be at least 1, got {options['jobs']}.")
        options["seeds"] = None if options["seeds"] is None else seeds_of(options["seeds"])
        options["systems"] = [name.strip() for name in options["systems"].split(",") if name]

        with slow_imports():
            from recbole_tinynews import Benchmark  # reports a missing RecBole

        benchmark = Benchmark(**options, settings=settings.values)
        if report_only:
            print(f"written   {', '.join(benchmark.report())} in {benchmark.output}")
        elif not benchmark.run():
            parser.exit(1)


def seeds_of(text: str) -> list[int]:
    """Parse distinct, comma-separated seeds; raises ``ValueError`` for anything else."""
    seeds = parse_value(f"[{text}]")
    if not list_of(COUNT).holds(seeds) or len({*seeds}) < len(seeds):
        raise ValueError(
            f"--seeds must be different whole numbers, such as --seeds=1,2,3, got {text!r}."
        )
    return seeds
