"""Runs a benchmark, and writes tables, tests and figures; existing results are kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from recbole_tinynews.benchmark.jobs import Job, Outcome, run_jobs
from recbole_tinynews.benchmark.planning import (
    NO_MODEL,
    PlannedRow,
    language_model_layers,
    plan_rows,
)
from recbole_tinynews.benchmark.result_table import (
    FORMATS,
    HEADS,
    as_markdown,
    budget_table,
    cold_table,
    make_table,
    save,
    size_figure,
)
from recbole_tinynews.benchmark.results import (
    METRICS,
    RESULTS,
    ResultsFile,
    SystemResult,
    impressions_file,
    read_files,
    summarise,
)
from recbole_tinynews.benchmark.significance import (
    compare_pairs,
    significance_csv,
    significance_table,
)
from recbole_tinynews.benchmark.suite import Suite, choose, compared, read_suite
from recbole_tinynews.files.progress import StageProgress
from recbole_tinynews.files.whole import write_text

FIGURE = "size"


class Report(NamedTuple):
    """The content of a report; ``seeds`` are those requested for all systems."""

    suite: Suite
    seeds: Sequence[int]
    systems: Sequence[SystemResult]
    notes: Sequence[str] = ()


def write_tables(output: Path, report: Report) -> list[str]:
    """Write the tables of results, budgets and cold articles; returns the file names."""
    suite, systems = report.suite, report.systems
    table = make_table(systems, report.seeds, report.notes, suite.ceilings)
    budgets = budget_table(systems, suite.ceilings)
    texts = {
        "table.md": as_markdown(table),
        "budget.md": as_markdown(budgets) if any(budgets.groups) else "",
        "cold.md": as_markdown(cold_table(systems)),
    }
    return _write(output, texts)


def write_report(output: Path, report: Report) -> list[str]:
    """Write a report into the folder of the results; returns the file names."""
    systems = report.systems
    read = read_files({system.row.label: system.impressions for system in systems if system.means})
    pairs = compared(report.suite, [system.row for system in systems if system.means])
    tests = compare_pairs(pairs, read)
    texts = {
        "significance.csv": significance_csv(tests) if tests else "",
        "significance.md": as_markdown(significance_table(tests)) if tests else "",
    }
    written = [*write_tables(output, report), *_write(output, texts)]
    if (figure := size_figure(report.suite, systems)) is not None:
        save(figure, output / FIGURE)
        written += [f"{FIGURE}.{kind}" for kind in FORMATS]
    return written


def _write(output: Path, texts: Mapping[str, str]) -> list[str]:
    for name, text in texts.items():
        if text:
            write_text(output / name, text)
        else:  # of an earlier report
            (output / name).unlink(missing_ok=True)
    return [name for name, text in texts.items() if text]


def notes_of_data(dataset: str, rows: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """Notes on the test set and the speed measurement, from rows of ``results.csv``."""
    impressions = sorted({row["impressions"] for row in rows if row["impressions"]})
    yield f"Data set {dataset}: {' or '.join(impressions) or 'no'} test impressions."
    measured = [row for row in rows if row["news_per_second"]]
    where = sorted({(row["device"], row["threads"], row["precision"]) for row in measured})
    for device, threads, precision in where:
        yield (
            f"Speed: median of 3 runs after one for warm-up, titles of the data set as long as "
            f"they are, {device}, threads: {threads}, precision {precision}, nothing "
            "else of the benchmark running beside it."
        )


class Benchmark:
    """Trains, measures and compares the systems of a suite on a data set.

    Args:
        suite: name of a suite of the package, or path of a yaml file.
        dataset: name of the data set.
        seeds: None: those of the suite.
        systems: labels, models or groups of rows, ``+Model``, ``+file.py:Class``; empty: all rows.
        settings: applied to every system that has them.
        jobs: number of parallel trainings, which share the threads; speeds are kept of those that
            run alone.
        output: folder of the results; None: ``benchmarks/results/`` and the suite's folder.

    Raises:
        ValueError: an unknown suite or system, or a setting that no system has.
    """

    def __init__(
        self,
        suite: str = "paper",
        dataset: str = "mind-mini",
        seeds: Sequence[int] | None = None,
        systems: Sequence[str] = (),
        settings: Mapping[str, Any] | None = None,
        jobs: int = 1,
        output: str | Path | None = None,
    ) -> None:
        self.settings = dict(settings or {})
        all_layers = language_model_layers(read_suite(suite, dataset), dataset, self.settings)
        self.suite = read_suite(suite, dataset, all_layers)
        self.dataset, self.jobs = dataset, jobs
        self.seeds = list(seeds or self.suite.seeds)
        rows, asked = choose(self.suite, systems)
        planned = plan_rows(self.suite, rows, dataset, self.seeds, self.settings)
        self.planned = {row.row.label: row for row in planned}
        self.asked = [self.planned[row.label] for row in asked]
        self.output = Path(output or Path("benchmarks", "results", self.suite.folder)).resolve()
        self.results = ResultsFile(self.output / RESULTS)
        self.errors: dict[tuple[str, int], str] = {}
        self.progress = StageProgress("benchmark")

    def run(self) -> bool:
        """Run what is missing and write the report; True if every row with a model has results."""
        runnable = [planned for planned in self.asked if not planned.why_not]
        # seed by seed: every system gets its first result before any gets a second
        wanted = [(planned, seed) for seed in self.seeds for planned in runnable]
        trainings = [self._job(*row) for row in wanted if self._row(*row) is None]

        for planned in self.asked:
            if planned.why_not:
                _tell("not run", f"{planned.row.label}: {planned.why_not}")
        if existing := len(wanted) - len(trainings):
            _tell("exist", f"{existing} results, in {self.results.path}")
        self.progress.begin(0, len(trainings))
        run_jobs(trainings, self.jobs, partial(_tell, "training"), self._keep)
        _tell("written", f"{', '.join(self.report())} in {self.output}")
        mistaken = [row for row in self.asked if row.why_not and NO_MODEL not in row.why_not]
        return not (mistaken or self.errors)

    def report(self) -> list[str]:
        """Write tables, significance and figure of existing results; returns the file names."""
        return [RESULTS, *write_report(self.output, self._summary())]

    def _summary(self) -> Report:
        """What is known so far."""
        systems = list(self._shown())
        rows = [cells for system in systems for cells in system.cells.values()]
        return Report(self.suite, self.seeds, systems, [*notes_of_data(self.dataset, rows)])

    def _shown(self) -> Iterator[SystemResult]:
        """Rows of the table: requested ones, and others that have results for these settings."""
        for label, planned in self.planned.items():
            rows = {seed: row for seed in self.seeds if (row := self._row(planned, seed))}
            if rows or planned in self.asked:
                errors = [reason for (system, _), reason in self.errors.items() if system == label]
                files = {seed: self._impressions(planned, seed) for seed in rows}
                why_not = planned.why_not or next(iter(errors), "")
                yield summarise(planned.row, rows, files, why_not)

    def _row(self, planned: PlannedRow, seed: int) -> dict[str, str] | None:
        if planned.why_not:
            return None
        return self.results.of(planned.row.label, seed, planned.fingerprints[seed])

    def _job(self, planned: PlannedRow, seed: int) -> Job:
        impressions = self._impressions(planned, seed)
        return Job(
            system=planned.row.label,
            seed=seed,
            model=planned.row.model,
            dataset=self.dataset,
            settings=planned.settings,
            threads=max(1, torch.get_num_threads() // self.jobs),
            alone=self.jobs == 1,
            answer=self.output / "logs" / f"{impressions.stem}.json",
            log=self.output / "logs" / f"{impressions.stem}.log",
            impressions=impressions,
        )

    def _impressions(self, planned: PlannedRow, seed: int) -> Path:
        return impressions_file(self.output, planned.row.label, seed, planned.fingerprints[seed])

    def _keep(self, outcome: Outcome) -> None:
        """Store a job's result in its row, and rewrite the tables."""
        job = outcome.job
        self.progress.reach(self.progress.step + 1)
        left = self.progress.time_left()
        if outcome.error is None:
            row = {"system": job.system, "seed": job.seed, **outcome.cells}
            mark = self.planned[job.system].fingerprints[job.seed]
            self.results.put({**row, "settings": mark})
            _tell("done", _in_words(outcome) + (left and f", about {left}"))
        else:
            error = self.errors[job.system, job.seed] = " ".join(outcome.error.split())
            _tell("failed", f"{job}: {error} (full log: {job.log})")
        write_tables(self.output, self._summary())  # tests would take minutes


def _tell(what: str, text: object) -> None:
    print(f"{what:9} {text}", flush=True)


def _in_words(outcome: Outcome) -> str:
    cells = outcome.cells
    known = [f"{HEADS[name]} {cells[name]:.4f}" for name in METRICS if cells.get(name) is not None]
    if cells.get("news_per_second") is not None:
        known.append(f"{cells['news_per_second']:,.0f} news/s")
    return f"{outcome.job}  {', '.join(known)}"
