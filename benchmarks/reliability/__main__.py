"""The long measurement of reliability: what is lost, wrong or left behind without a word.

    lines   mutated lines of MIND's files through the converter, against an independent count
    formats the same for tables, articles and bodies
    kills   ``kill -9`` at random moments over all models that train and the benchmark
    files   every file of a finished Tiny-NewsRec damaged, and the same command again
    wrong   command lines that cannot work
    folders changed folders of recommenders
    requests of all kinds, to a service
    services killed while clients post events, on each kind of store

    python benchmarks/reliability [PART ...] [--scale=1] [--seed=0] [--jobs=2] [--mind=DIR]

Everything is drawn from the seed; a run is killed after it has computed for so long, to about a
hundredth of a second. All parts but the first two use the language model and the data set of the
unit tests. Needs ``fork``.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from threading import RLock

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent.parent / "tests"
# `measure` of the benchmarks; data and plain readers of the tests
ROOMS = ("convert", "benchmark", "serving", "serving/service")
sys.path += [str(HERE.parent), str(TESTS), *(str(TESTS / room) for room in ROOMS)]
os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported; a fork inherits no threads
os.environ["HF_HUB_OFFLINE"] = "1"

import damaged_files  # noqa: E402
import hostile_folders  # noqa: E402
import killed_runs  # noqa: E402
import killed_services  # noqa: E402
import many_requests  # noqa: E402
import mutated_formats  # noqa: E402
import mutated_lines  # noqa: E402
import wrong_commands  # noqa: E402
from measure import finish  # noqa: E402
from outcome import Outcome  # noqa: E402
from tabulate import tabulate  # noqa: E402
from tqdm import tqdm  # noqa: E402

from recbole_tinynews.pipeline.plan import PLAIN  # noqa: E402

LINES, LINES_OF_FORMATS, KILLS = 1_000_000, 400_000, 300  # at --scale=1
COUNTED = {  # parts that need a number and a seed alone
    "wrong": (wrong_commands.measure, 250),
    "folders": (hostile_folders.measure, 100),
    "requests": (many_requests.measure, 20_000),
    "services": (killed_services.measure, 20),
}
PARTS = ("lines", "formats", "kills", "files", *COUNTED)


def measured(part: str, given: argparse.Namespace, folder: Path) -> Outcome:
    if part == "lines":
        count = max(1, round(LINES * given.scale))
        return mutated_lines.measure(folder, count, given.seed, given.mind)
    if part == "formats":
        count = max(len(mutated_formats.FORMATS), round(LINES_OF_FORMATS * given.scale))
        return mutated_formats.measure(folder, count, given.seed)
    if part == "kills":
        return killed_runs.measure(
            folder, max(2, round(KILLS * given.scale)), given.seed, given.jobs
        )
    if part in COUNTED:
        measure, count = COUNTED[part]
        return measure(folder, max(5, round(count * given.scale)), given.seed)
    return damaged_files.measure(folder, given.scale, given.seed, given.jobs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {PARTS} (default: all)")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the whole measurement")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="commands at a time (default: 2)")
    parser.add_argument(
        "--mind", type=Path, help="folder with MIND's behaviors.tsv and news.tsv to mutate"
    )
    given = parser.parse_args()
    unknown = [part for part in given.parts if part not in PARTS]
    if unknown or not 0 < given.scale <= 1:
        parser.error(f"expects parts of {PARTS} and a scale of at most 1, got {given}")
    tqdm.monitor_interval = 0  # its thread would be forked
    tqdm.set_lock(RLock())  # forks share tqdm's own: killed with it, one would stop all others
    figures, failures = {}, []
    with tempfile.TemporaryDirectory() as place:
        for part in given.parts or PARTS:
            began = time.perf_counter()
            folder = Path(place, part)
            folder.mkdir()
            outcome = measured(part, given, folder)
            seconds = time.perf_counter() - began
            figures[part] = {**outcome.figures, "failures": len(outcome.failures)}
            figures[part]["seconds"] = round(seconds, 1)
            failures += [f"{part}: {failure}" for failure in outcome.failures]
    for failure in failures:
        print(f"FAILED  {failure}")
    rows = [
        [part, name, f"{value:,}"] for part, of in figures.items() for name, value in of.items()
    ]
    print(tabulate([["part", "what", f"seed {given.seed}"], *rows], **PLAIN))
    finish("reliability", {"seed": given.seed, "scale": given.scale, **figures})
    if failures:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
