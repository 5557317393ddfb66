"""Runs the jobs of a benchmark: trainings in parallel, measurements alone."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

from recbole_tinynews.benchmark.worker import MEASURE, TRAIN, Job, work
from recbole_tinynews.processes.launch import start_method

TICK = 1.0  # seconds between calls of `watch`


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
    """Run each job in its own process until none is left.

    Trainings run in parallel (``side_by_side``), preferring seeds that are not running: systems of
    one seed share stages and would wait for each other. A measurement runs alone: after its
    training if ``side_by_side`` is 1, else after all. ``after`` returns follow-up jobs.
    """
    waiting = list(jobs)
    running: dict[BaseProcess, tuple[Job, float]] = {}
    with _terminating(running):
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
    context: Any = multiprocessing.get_context(start_method())
    process = context.Process(target=work, args=(job,))  # a daemon can't start processes
    process.start()
    return process


def _outcome(job: Job, process: BaseProcess, seconds: float) -> Outcome:
    process.join()
    try:
        answer = json.loads(job.answer.read_text(encoding="utf-8"))
    except FileNotFoundError:
        code = process.exitcode or 0
        how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
        answer = {"error": f"its process {how}"}
    job.answer.unlink(missing_ok=True)
    error = answer.get("error")
    return Outcome(job, answer.get("cells", {}), error, seconds)


@contextmanager
def _terminating(running: dict[BaseProcess, tuple[Job, float]]) -> Iterator[None]:
    """Terminate processes that are still running; the next benchmark resumes their work."""
    try:
        yield
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.join()
