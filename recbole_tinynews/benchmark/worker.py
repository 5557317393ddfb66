"""One process of a benchmark: trains and tests a system, or measures it."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from recbole_tinynews.files.whole import partial_place, write_text
from recbole_tinynews.processes.launch import end_with_parent, launch

TRAIN, MEASURE = "train", "measure"


class Job(NamedTuple):
    """A job of a benchmark, in picklable values."""

    action: str
    system: str
    seed: int
    model: str
    dataset: str
    settings: Mapping[str, Any]
    threads: int  # of each process
    answer: Path  # result, as json
    log: Path
    impressions: Path  # per-impression metrics
    processes: int = 1


def work(job: Job) -> None:
    """Run a job; its ``answer`` becomes ``{"cells": ...}`` or ``{"error": ...}``."""
    end_with_parent()  # a killed benchmark can't terminate its processes
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("a", encoding="utf-8") as log:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(log.fileno(), stream.fileno())
        try:
            import torch

            torch.set_num_threads(job.threads)
            answer: dict[str, Any] = {"cells": _ACTIONS[job.action](job)}
        except Exception as problem:
            traceback.print_exc()
            answer = {"error": str(problem) or repr(problem)}
        write_text(job.answer, json.dumps(answer))


def train(job: Job) -> dict[str, Any]:
    """Train and test; returns cells of the system's row."""
    from recbole_tinynews.benchmark.impressions import keep_eval_dump
    from recbole_tinynews.benchmark.recommender_file import model_class_of
    from recbole_tinynews.benchmark.results import METRICS, OWN_BUDGET, TEACHERS_BUDGET
    from recbole_tinynews.pipeline.config import NewsConfig
    from recbole_tinynews.pipeline.quick_start import run
    from recbole_tinynews.settings.registry import has_language_model

    with partial_place(job.impressions) as dump:
        settings = {**job.settings, "seed": job.seed, "eval_dump": str(dump)}
        model_class = model_class_of(job.model)
        if job.processes > 1 and has_language_model(model_class):
            result = _run_in_processes(job, settings)
        else:
            result = run(model_class, job.dataset, config_dict=settings)
        if dump.is_file():
            data = Path(NewsConfig(model_class, job.dataset, config_dict=settings)["data_path"])
            keep_eval_dump(dump, data / f"{job.dataset}.test.inter", job.impressions)
    test, cold = result.get("test", {}), result.get("test_cold", {})
    budget = result.get("budget", {})
    stages = result.get("stages", [])
    return {
        **{name: test.get(name) for name in (*METRICS, "impressions", "skipped")},
        **{f"cold_{name}": cold.get(name) for name in (*METRICS, "impressions")},
        "parameters": result.get("parameters"),
        # of all its stages, including those trained by another system
        "seconds": round(sum(stage["seconds"] for stage in stages), 1) if stages else None,
        "environment": ", ".join(f"{n} {v}" for n, v in result.get("environment", {}).items()),
        **dict(zip(OWN_BUDGET, (budget.get("own") or {}).values(), strict=False)),
        **dict(zip(TEACHERS_BUDGET, (budget.get("teachers") or {}).values(), strict=False)),
    }


def _run_in_processes(job: Job, settings: Mapping[str, Any]) -> dict[str, Any]:
    with partial_place(job.answer) as order, partial_place(job.answer) as answer:
        one = {"model": job.model, "dataset": job.dataset, "threads": job.threads}
        text = json.dumps({**one, "settings": settings, "answer": answer}, default=str)
        order.write_text(text, encoding="utf-8")
        launch(job.processes, "recbole_tinynews.benchmark.worker", [str(order)])
        return json.loads(answer.read_text(encoding="utf-8"))


def run_as_one_of_several(order: Path) -> None:
    """Execute ``run`` in one of the processes of ``_run_in_processes``."""
    import torch

    from recbole_tinynews.benchmark.recommender_file import model_class_of
    from recbole_tinynews.pipeline.quick_start import run
    from recbole_tinynews.processes.group import leave, process_group

    asked = json.loads(order.read_text(encoding="utf-8"))
    torch.set_num_threads(asked["threads"])
    model_class = model_class_of(asked["model"])
    result = run(model_class, asked["dataset"], config_dict=asked["settings"])
    if process_group().first:
        write_text(Path(asked["answer"]), json.dumps(result))
    leave()


def measure_speed(job: Job) -> dict[str, Any]:
    """Measure speed and memory; no cells without a language model."""
    from recbole_tinynews.benchmark.measure import measure
    from recbole_tinynews.benchmark.recommender_file import model_class_of
    from recbole_tinynews.settings.registry import has_language_model

    model_class = model_class_of(job.model)
    if not has_language_model(model_class):
        return {}
    return measure(model_class, job.dataset, {**job.settings, "seed": job.seed})


_ACTIONS: dict[str, Callable[[Job], dict[str, Any]]] = {TRAIN: train, MEASURE: measure_speed}

if __name__ == "__main__":
    run_as_one_of_several(Path(sys.argv[1]))
