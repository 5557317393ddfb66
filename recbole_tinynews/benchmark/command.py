"""The command line of ``run_benchmark.py``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from recbole_tinynews.cli import command_parser
from recbole_tinynews.settings.literals import parse_command_line
from recbole_tinynews.settings.values import refuse


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a benchmark; exit with status 1 on mistakes or if a system failed."""
    parser = command_parser(
        description="Train and measure systems side by side; write tables and figures.",
        epilog="Any setting for all systems that have it: --key=value, e.g. --plm=FOLDER.",
    )
    add = parser.add_argument
    add("--suite", default="paper", help="name or yaml file (default: paper)")
    add("--dataset", "-d", default="mind-mini", help="name (default: mind-mini)")
    add("--seeds", help="such as 1,2,3 (default: those of the suite)")
    add(
        "--systems",
        help="labels, models or groups of the suite's rows, separated by commas (default: all); "
        "+PopularNow adds that model, +path/to/file.py:Class a recommender of your own",
    )
    add("--jobs", type=int, default=1, help="trainings in parallel (default: 1)")
    add("--nproc", type=int, default=1, help="processes of each training (default: 1)")
    add(
        "--no-speed",
        action="store_true",
        help="don't measure speeds, which takes minutes on a CPU; a later run without this does",
    )
    add("--output", help="folder (default: benchmarks/results/ and that of the suite)")
    add(
        "--report-only",
        action="store_true",
        help="run nothing: write tables, tests and figures of existing results with these settings "
        "and data",
    )
    given, rest = parser.parse_known_args(sys.argv[1:] if arguments is None else arguments)
    settings = parse_command_line(rest)
    try:
        refuse("The command line has mistakes:", settings.problems)
        _check(given)
        benchmark = _benchmark(given, settings.values)
        if given.report_only:
            print(f"written   {', '.join(benchmark.report())} in {benchmark.output}")
        elif not benchmark.run():
            parser.exit(1)
    except KeyboardInterrupt:
        parser.exit(130, "\nStopped; rows and steps are kept, and the same command resumes.\n")
    except (ValueError, FileNotFoundError, ModuleNotFoundError) as mistake:
        parser.exit(1, f"{parser.prog}: {mistake}\n")


def _check(given: argparse.Namespace) -> None:
    for flag, number in (("jobs", given.jobs), ("nproc", given.nproc)):
        if number < 1:
            raise ValueError(f"--{flag} expects at least 1, got {number}.")


def _benchmark(given: argparse.Namespace, settings: Mapping[str, Any]) -> Any:
    from recbole_tinynews import Benchmark  # slow to import; reports a missing RecBole

    return Benchmark(
        suite=given.suite,
        dataset=given.dataset,
        output=given.output,
        seeds=seeds_of(given.seeds) if given.seeds else None,
        systems=[each.strip() for each in given.systems.split(",")] if given.systems else (),
        settings=settings,
        jobs=given.jobs,
        processes=given.nproc,
        speed=not given.no_speed,
    )


def seeds_of(text: str) -> list[int]:
    """Parse distinct, comma-separated seeds; raises ``ValueError`` for anything else."""
    try:
        seeds = [int(each) for each in text.split(",")]
    except ValueError:
        seeds = []
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise ValueError(
            f"--seeds expects different whole numbers, such as --seeds=1,2,3, got {text!r}."
        )
    return seeds


if __name__ == "__main__":
    main()
