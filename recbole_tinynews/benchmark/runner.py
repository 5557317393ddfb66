"""Runs the jobs of a benchmark, trainings in parallel and measurements alone; shows progress."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from statistics import fmean
from typing import Any, NamedTuple, TextIO

from recbole_tinynews.benchmark.worker import MEASURE, TRAIN, Job, work
from recbole_tinynews.files.progress import duration
from recbole_tinynews.processes.launch import how_it_ended

START_METHOD = "spawn"  # a fork of a process that has computed with torch may hang
TICK = 1.0  # seconds between calls of `watch`
_DOING = {TRAIN: "training", MEASURE: "measuring"}


class Outcome(NamedTuple):
    """A finished job with its cells or its error."""

    job: Job
    cells: dict[str, Any]
    error: str | None
    seconds: float


class Progress(NamedTuple):
    """Running jobs with their start times (``time.monotonic``), and waiting jobs."""

    running: Sequence[tuple[Job, float]]
    waiting: Sequence[Job]


def run_jobs(
    jobs: Sequence[Job],
    side_by_side: int,
    after: Callable[[Outcome], Sequence[Job]],
    watch: Callable[[Progress], None],
) -> None:
    """Run each job in its own process until none is left; ``after`` returns follow-up jobs.

    Trainings run in parallel, preferring seeds that are not running: systems of one seed share
    stages. A measurement runs alone: after its training if ``side_by_side`` is 1, else after all.
    """
    waiting = list(jobs)
    running: dict[BaseProcess, tuple[Job, float]] = {}
    try:
        while waiting or running:
            while job := _next(waiting, [job for job, _ in running.values()], side_by_side):
                waiting.remove(job)
                running[_start(job)] = job, time.monotonic()
            watch(Progress([*running.values()], waiting))
            wait([process.sentinel for process in running], timeout=TICK)
            for process in [process for process in running if process.exitcode is not None]:
                job, since = running.pop(process)
                waiting += after(_outcome(job, process, time.monotonic() - since))
        watch(Progress([], []))
    finally:  # the next benchmark resumes their work
        for process in running:
            process.terminate()
        for process in running:
            process.join()


def _next(waiting: Sequence[Job], running: Sequence[Job], side_by_side: int) -> Job | None:
    trainings = [job for job in waiting if job.action == TRAIN]
    measurements = [job for job in waiting if job.action == MEASURE]
    if measurements and not running and (side_by_side == 1 or not trainings):
        return measurements[0]
    free = len(running) < side_by_side and all(job.action == TRAIN for job in running)
    if not trainings or not free:
        return None
    busy = {job.seed for job in running}
    return next((job for job in trainings if job.seed not in busy), trainings[0])


def _start(job: Job) -> BaseProcess:
    job.answer.unlink(missing_ok=True)
    context: Any = multiprocessing.get_context(START_METHOD)
    process = context.Process(target=work, args=(job,))  # a daemon can't start processes
    process.start()
    return process


def _outcome(job: Job, process: BaseProcess, seconds: float) -> Outcome:
    process.join()
    try:
        answer = json.loads(job.answer.read_text(encoding="utf-8"))
    except FileNotFoundError:
        answer = {"error": f"its process {how_it_ended(process.exitcode or 0)}"}
    job.answer.unlink(missing_ok=True)
    return Outcome(job, answer.get("cells", {}), answer.get("error"), seconds)


class Board:
    """Shows progress in live lines in a terminal, and as plain lines elsewhere."""

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
        self._announced: set[tuple[str, str, int]] = set()
        self._height = 0

    def tell(self, line: str) -> None:
        """Print a line above the live ones."""
        self._clear()
        print(line, file=self.out, flush=True)

    def ended(self, outcome: Outcome, result: str = "") -> None:
        """Print the outcome of a job; ``result`` describes its score."""
        job = outcome.job
        if outcome.error is not None:
            self.failed += job.action == TRAIN
            reason = " ".join(outcome.error.split())
            self.tell(f"failed    {_name(job)}: {reason} (full log: {job.log})")
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
            lines = [line[:width] for line in self._lines(progress)]
            self._height = len(lines)
            print("\n".join(lines), file=self.out, flush=True)
            return
        for job, _ in progress.running:
            key = (job.action, job.system, job.seed)
            if key not in self._announced:
                self._announced.add(key)
                doing = f"{_DOING[job.action]:9} {_name(job)}"
                self.tell(f"{doing}; {self.finished} of {self.rows} done, {self._left(progress)}")

    def _lines(self, progress: Progress) -> list[str]:
        now = self.clock()
        waiting = sum(job.action == TRAIN for job in progress.waiting)
        head = (
            f"{self.finished} of {self.rows} done, {waiting} waiting, {self.failed} failed; "
            f"{duration(now - self.began)} elapsed, {self._left(progress)}"
        )
        running = [
            f"{_DOING[job.action]:9} {_name(job)}  {duration(now - since)}"
            for job, since in progress.running
        ]
        return [head, *running]

    def _left(self, progress: Progress) -> str:
        left = self.time_left(progress)
        return "time left unknown" if left is None else f"about {duration(left)} left"

    def time_left(self, progress: Progress) -> float | None:
        """Estimated seconds left, from the mean time of finished jobs; None before the first."""
        if not self.seconds[TRAIN]:
            return None
        of_training, of_measuring = (fmean(self.seconds[a] or [0.0]) for a in (TRAIN, MEASURE))
        to_train = [job for job in progress.waiting if job.action == TRAIN]
        trains = sum(job.action == TRAIN for job, _ in progress.running)
        to_measure = len(progress.waiting) + trains  # each training is followed by one
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
