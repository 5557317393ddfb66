"""Helpers of the benchmark's tests: a suite, a small benchmark, and rows of a table."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import yaml
from tiny import DATASET, SETTINGS, STAGE_SETTINGS, Tiny

from recbole_tinynews.benchmark.benchmark import Benchmark
from recbole_tinynews.benchmark.jobs import Job, Outcome, train
from recbole_tinynews.benchmark.results import COLUMNS, SystemResult, keep_eval_dump, summarise
from recbole_tinynews.benchmark.suite import Row
from recbole_tinynews.files.columns import INTER, header

ROWS = [
    {"label": "PLM-NR_{layers}", "model": "PLMNR", "layers": ["large", "small"], "group": "plain"},
    {"label": "Tiny-NewsRec_{layers}", "model": "TinyNewsRec", "layers": ["large", "small"]},
]
FEW_STEPS = {**STAGE_SETTINGS, "max_steps": 1, "post_train_student_max_steps": 1}


def write_suite(folder: Path, **keys: Any) -> str:
    """Write a suite of a few rows into a file; returns its path."""
    suite = {"layers": {"all": 3, "large": 2, "small": 1}, "rows": ROWS, "seeds": [1], **keys}
    path = folder / "few.yaml"
    path.write_text(yaml.safe_dump(suite), encoding="utf-8")
    return str(path)


def make_benchmark(
    tiny: Tiny,
    folder: Path,
    suite: str | None = None,
    cls: type[Benchmark] = Benchmark,
    settings: Mapping[str, Any] | None = None,
    **keywords: Any,
) -> Benchmark:
    """A benchmark on the tiny data set that writes results and stages into ``folder``."""
    of_rows = ("num_hidden_layers", "show_progress")
    small = {
        **{name: value for name, value in SETTINGS.items() if name not in of_rows},
        **FEW_STEPS,
        "plm": str(tiny.plm),
        "data_path": str(tiny.data),
        "checkpoint_dir": str(folder / "saved"),
        **(settings or {}),
    }
    keywords.setdefault("output", folder / "out")
    return cls(suite or write_suite(folder), DATASET, settings=small, **keywords)


class RunHere:
    """``run_jobs`` in this process, one after the other, as they would run alone.

    A start takes seconds; tests of processes start them.

    Attributes:
        jobs: the system of each job so far.
    """

    def __init__(self) -> None:
        self.jobs: list[str] = []

    def __call__(self, jobs: Sequence[Job], _: int, started: Any, ended: Any) -> None:
        for job in jobs:
            started(job)
            self.jobs.append(job.system)
            ended(Outcome(job, train(job)))


def run_with_output(benchmark: Benchmark) -> tuple[bool, str]:
    """Run it; returns whether it succeeded and what it printed."""
    with redirect_stdout(io.StringIO()) as out:
        return benchmark.run(), out.getvalue()


def system(label: str, *seeds: dict[str, Any], why_not: str = "", **of_row: Any) -> SystemResult:
    """A row of the table; the cells are those of seeds 1, 2 and so on."""
    family = of_row.pop("family", label)
    impressions = of_row.pop("impressions", None)
    rows = {
        seed: {**dict.fromkeys(COLUMNS, ""), **{name: str(value) for name, value in cells.items()}}
        for seed, cells in enumerate(seeds, start=1)
    }
    return summarise(Row(label, family, "PLMNR", **of_row), rows, impressions, why_not)


def squeeze(table: str) -> str:
    """A Markdown table without the blanks that align its columns."""
    return re.sub("-{3,}", "---", re.sub(" +", " ", table))


def keep(
    folder: Path,
    name: str,
    auc: Sequence[str],
    ids: str = "i",
    users: Sequence[str] = (),
    order: Sequence[int] = (),
) -> Path:
    """Save metrics of impressions, each metric equal to the given AUC; returns the file.

    ``ids`` begins the impressions' ids. ``users`` are theirs, one each if not given. ``order`` is
    the one in which the data set has them.
    """
    rows = range(len(auc))
    dump, place = folder / f"{name}.csv", folder / f"{name}.npz"
    lines = [",".join([f"{ids}{row}", *[auc[row]] * 4]) for row in rows]
    dump.write_text("\n".join(["impression_id,auc,mrr,ndcg@5,ndcg@10", *lines]) + "\n")
    data = folder / f"{name}.test.inter"
    user_of = users or [f"U{row}" for row in rows]
    lines = [f"{ids}{row}\t{user_of[row]}\t1\tN1\tN2 N3\t1 0" for row in order or rows]
    data.write_text("\n".join([header(INTER), *lines]) + "\n")
    keep_eval_dump(dump, data, place)
    return place
