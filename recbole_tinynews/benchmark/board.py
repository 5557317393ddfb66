"""Progress of a benchmark: finished, running and waiting jobs."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from statistics import fmean
from typing import TextIO

from recbole_tinynews.benchmark.runner import Outcome, Progress
from recbole_tinynews.benchmark.worker import MEASURE, TRAIN, Job
from recbole_tinynews.logs.progress import duration
from recbole_tinynews.pipeline.log_tables import text_table

NEXT = 5  # waiting jobs listed; others are only counted
_DOING = {TRAIN: "training", MEASURE: "measuring"}


class Board:
    """Shows progress as a live table in a terminal, and as plain lines elsewhere."""

    def __init__(
        self,
        rows: int,
        finished: int,
        side_by_side: int,
        out: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rows, self.finished, self.side_by_side = rows, finished, side_by_side
        self.out, self.clock = out or sys.stdout, clock
        self.failed = 0
        self.began = clock()
        self.seconds: dict[str, list[float]] = {action: [] for action in _DOING}
        self.live = self.out.isatty()
        self._told: set[tuple[str, str, int]] = set()
        self._height = 0

    def tell(self, line: str) -> None:
        """Print a line above the live table."""
        self._clear()
        print(line, file=self.out, flush=True)

    def ended(self, outcome: Outcome, result: str = "") -> None:
        """Print the outcome of a job; ``result`` describes its score."""
        job = outcome.job
        if outcome.error is not None:
            self.failed += job.action == TRAIN
            first = outcome.error.splitlines()[0]
            self.tell(f"failed    {_name(job)}: {first} (all of it: {job.log})")
            return
        self.seconds[job.action].append(outcome.seconds)
        self.finished += job.action == TRAIN
        what = "done" if job.action == TRAIN else "measured"
        self.tell(f"{what:9} {_name(job)}  {result}  {duration(outcome.seconds)}")

    def watch(self, progress: Progress) -> None:
        """Show running and waiting jobs."""
        if self.live:
            self._clear()
            width = shutil.get_terminal_size().columns - 1
            lines = [line[:width] for line in self._table(progress)]
            self._height = len(lines)
            print("\n".join(lines), file=self.out, flush=True)
            return
        for job, _ in progress.running:
            key = (job.action, job.system, job.seed)
            if key not in self._told:
                self._told.add(key)
                print(f"{_DOING[job.action]:9} {_name(job)}", file=self.out, flush=True)

    def _table(self, progress: Progress) -> list[str]:
        now = self.clock()
        trainings = [job for job in progress.waiting if job.action == TRAIN]
        running = [[_name(j), _DOING[j.action], duration(now - t)] for j, t in progress.running]
        waiting = [[_name(job), "waiting", ""] for job in trainings[:NEXT]]
        left = self.time_left(progress)
        lines = [
            f"{self.finished} of {self.rows} done, {len(progress.running)} running, "
            f"{len(trainings)} waiting, {self.failed} failed; "
            f"{duration(now - self.began)} elapsed, "
            + ("time left unknown" if left is None else f"about {duration(left)} left")
        ]
        if running or waiting:
            lines += text_table([*running, *waiting]).splitlines()
        if len(trainings) > NEXT:
            lines.append(f"and {len(trainings) - NEXT} more")
        return lines

    def time_left(self, progress: Progress) -> float | None:
        """Estimated seconds left, from the mean time of finished jobs; None before the first."""
        if not self.seconds[TRAIN]:
            return None
        of_training, of_measuring = (fmean(self.seconds[a] or [0.0]) for a in (TRAIN, MEASURE))
        to_train = [job for job in progress.waiting if job.action == TRAIN]
        to_measure = len(progress.waiting)  # each training is followed by one
        left = len(to_train) * of_training / self.side_by_side + to_measure * of_measuring
        running = [
            (of_training if job.action == TRAIN else of_measuring) - (self.clock() - since)
            for job, since in progress.running
        ]
        return left + max([0.0, *running])

    def _clear(self) -> None:
        if self._height:
            print(f"\x1b[{self._height}F\x1b[J", end="", file=self.out)
            self._height = 0


def _name(job: Job) -> str:
    return f"{job.system}, seed {job.seed}"
