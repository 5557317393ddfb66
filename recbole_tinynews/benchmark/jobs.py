"""The jobs of a benchmark: trainings, each in its own process."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

from recbole_tinynews.benchmark.results import METRICS, OWN_BUDGET, TEACHERS_BUDGET
from recbole_tinynews.files.whole import partial_place, write_text
from recbole_tinynews.processes.launch import end_with_parent, how_it_ended

START_METHOD = "spawn"  # a fork of a process that has computed with torch may hang


class Job(NamedTuple):
    """A training of a benchmark, in picklable values; ``alone`` with nothing beside it."""

    system: str
    seed: int
    model: str
    dataset: str
    settings: Mapping[str, Any]
    threads: int
    alone: bool
    answer: Path  # result, as json
    log: Path
    impressions: Path  # per-impression metrics

    def __str__(self) -> str:
        return f"{self.system}, seed {self.seed}"


class Outcome(NamedTuple):
    """A finished job with its cells or its error."""

    job: Job
    cells: dict[str, Any]
    error: str | None = None


def run_jobs(
    jobs: Sequence[Job],
    side_by_side: int,
    started: Callable[[Job], None],
    ended: Callable[[Outcome], None],
) -> None:
    """Run each job in its own process, so many in parallel.

    Seeds that are not running go first: systems of one seed share stages, and wait for each other.
    """
    waiting = list(jobs)
    running: dict[BaseProcess, Job] = {}
    try:
        while waiting or running:
            while waiting and len(running) < side_by_side:
                busy = {job.seed for job in running.values()}
                job = next((job for job in waiting if job.seed not in busy), waiting[0])
                waiting.remove(job)
                started(job)
                running[_start(job)] = job
            wait([process.sentinel for process in running])
            for process in [process for process in running if process.exitcode is not None]:
                ended(_outcome(running.pop(process), process))
    finally:  # the next benchmark resumes their work
        for process in running:
            process.terminate()
        for process in running:
            process.join()


def _start(job: Job) -> BaseProcess:
    job.answer.unlink(missing_ok=True)
    context: Any = multiprocessing.get_context(START_METHOD)
    process = context.Process(target=_work, args=(job,))  # a daemon can't start processes
    process.start()
    return process


def _work(job: Job) -> None:
    """Run a job; its ``answer`` becomes ``{"cells": ...}`` or ``{"error": ...}``."""
    end_with_parent()  # a killed benchmark can't terminate its processes
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("a", encoding="utf-8") as log:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(log.fileno(), stream.fileno())
        try:
            import torch  # slow to import, as what training needs

            torch.set_num_threads(job.threads)
            answer: dict[str, Any] = {"cells": train(job)}
        except Exception as problem:
            traceback.print_exc()
            answer = {"error": str(problem) or repr(problem)}
        write_text(job.answer, json.dumps(answer))


def _outcome(job: Job, process: BaseProcess) -> Outcome:
    process.join()
    try:
        answer = json.loads(job.answer.read_text(encoding="utf-8"))
    except FileNotFoundError:
        answer = {"error": f"its process {how_it_ended(process.exitcode or 0)}"}
    job.answer.unlink(missing_ok=True)
    return Outcome(job, answer.get("cells", {}), answer.get("error"))


def train(job: Job) -> dict[str, Any]:
    """Train and test; returns cells of the system's row."""
    import torch

    from recbole_tinynews.benchmark.planning import model_class_of
    from recbole_tinynews.benchmark.results import keep_eval_dump
    from recbole_tinynews.pipeline.config import NewsConfig
    from recbole_tinynews.pipeline.quick_start import run_config

    model_class = model_class_of(job.model)
    with partial_place(job.impressions) as dump:
        settings = {**job.settings, "seed": job.seed, "eval_dump": str(dump)}
        config = NewsConfig(model_class, job.dataset, config_dict=settings)
        result = run_config(config)
        if dump.is_file():
            test_file = Path(config["data_path"], f"{job.dataset}.test.inter")
            keep_eval_dump(dump, test_file, job.impressions)
    test, cold, budget = result["test"], result["test_cold"], result["budget"]
    speed: dict[str, Any] = {}
    if job.alone and result["news_per_second"] is not None:
        speed["news_per_second"] = float(f"{result['news_per_second']:.4g}")
        device = config["device"]
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
        speed |= {"threads": job.threads, "precision": "float32", "device": name}
    return {
        **{name: test.get(name) for name in (*METRICS, "impressions", "skipped")},
        **{f"cold_{name}": cold.get(name) for name in (*METRICS, "impressions")},
        "parameters": result["parameters"],
        **speed,
        # of all its stages, including those trained by another system
        "seconds": round(sum(stage["seconds"] for stage in result["stages"]), 1),
        "environment": ", ".join(f"{n} {v}" for n, v in result["environment"].items()),
        **dict(zip(OWN_BUDGET, (budget["own"] or {}).values(), strict=False)),
        **dict(zip(TEACHERS_BUDGET, (budget["teachers"] or {}).values(), strict=False)),
    }
