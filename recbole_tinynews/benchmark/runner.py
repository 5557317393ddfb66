"""Runs the jobs of a benchmark: trainings in parallel, measurements alone."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

from recbole_tinynews.benchmark.worker import MEASURE, TRAIN, Job, work
from recbole_tinynews.processes.launch import how_it_ended, start_method

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
    context: Any = multiprocessing.get_context(start_method())
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
