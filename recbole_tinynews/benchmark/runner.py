"""The order of the work: systems side by side, each measured when nothing else runs."""

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

PRELOADED = ["recbole_tinynews.quick_start", "recbole_tinynews.benchmark.measure"]
TICK = 1.0  # seconds between two looks at the clock


class Outcome(NamedTuple):
    """A job that has ended: its cells, or the error that ended it."""

    job: Job
    cells: dict[str, Any]
    error: str | None
    seconds: float


class Progress(NamedTuple):
    """What there is to do; ``running`` says since when (``time.monotonic``)."""

    running: Sequence[tuple[Job, float]]
    waiting: Sequence[Job]


def run_jobs(
    jobs: Sequence[Job],
    side_by_side: int,
    after: Callable[[Outcome], Sequence[Job]],
    watch: Callable[[Progress], None],
) -> None:
    """Run each job in a process of its own until none is left.

    Trainings run side by side, in order; while others wait, one of a seed that is not at work comes
    first, as systems share stages of their own seed alone. Two that want the same stage at once
    don't train it twice: the later one waits for it.

    A measurement runs alone: at once where trainings come one by one, else behind all of them.

    Args:
        jobs: what there is to do.
        side_by_side: trainings at a time.
        after: is told of each that has ended, and names those that follow from it.
        watch: is called whenever something changes, and every second.
    """
    waiting = list(jobs)
    running: dict[BaseProcess, tuple[Job, float]] = {}
    with _ended(running):
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
    process = _context().Process(target=work, args=(job,), daemon=True)
    process.start()
    return process


def _context() -> Any:
    """Processes that need not import everything anew, where the system can fork."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


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
def _ended(running: dict[BaseProcess, tuple[Job, float]]) -> Iterator[None]:
    """However this ends, no process goes on unseen: what it has begun is taken up the next time."""
    try:
        yield
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.join()
