"""A benchmark from settings to report; existing results are kept, missing ones computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import torch

from recbole_tinynews.benchmark.board import Board
from recbole_tinynews.benchmark.impressions import read_impression_metrics
from recbole_tinynews.benchmark.means import SystemResult, summarise
from recbole_tinynews.benchmark.notes import notes_of
from recbole_tinynews.benchmark.planning import (
    NO_MODEL,
    PlannedRow,
    language_model_layers,
    plan_rows,
)
from recbole_tinynews.benchmark.report import Reported, write_report
from recbole_tinynews.benchmark.result_table import HEADS
from recbole_tinynews.benchmark.results import METRICS, RESULTS, ResultsFile, as_csv
from recbole_tinynews.benchmark.runner import Outcome, run_jobs
from recbole_tinynews.benchmark.suite import choose, read_suite
from recbole_tinynews.benchmark.worker import MEASURE, TRAIN, Job
from recbole_tinynews.files.whole import remove_old_partials, write_text

NOT_RUN = "not_run.csv"


class Benchmark:
    """Rows of a suite on a data set.

    Args:
        suite: name of a suite of the package, or the path of a yaml file.
        dataset: name of the data set.
        seeds: None: those of the suite.
        systems: labels, models or groups of rows, ``+file.py:Class``; none: all rows.
        settings: for every system that has them.
        jobs: number of trainings in parallel, which share the threads.
        processes: of each training, which share its threads; RecBole's models take one.
        output: folder of the results; None: benchmarks/results/ and the folder that the suite says.

    Raises:
        ValueError: no such suite or system, or a setting that no system has.
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
        processes: int = 1,
    ) -> None:
        all_layers = language_model_layers(read_suite(suite, dataset), dataset, settings or {})
        self.suite = read_suite(suite, dataset, all_layers)
        self.dataset, self.jobs, self.processes = dataset, jobs, processes
        self.settings = dict(settings or {})
        self.seeds = list(seeds or self.suite.seeds)
        rows, asked = choose(self.suite, systems)
        self.planned = plan_rows(self.suite, rows, dataset, self.seeds, settings or {})
        labels = {row.label for row in asked}
        self.asked = [planned for planned in self.planned if planned.row.label in labels]
        self.output = Path(output or Path("benchmarks", "results", self.suite.folder)).resolve()
        self.results = ResultsFile(self.output / RESULTS)
        self.errors: dict[tuple[str, int], str] = {}
        self.unmeasured: dict[str, str] = {}

    def run(self, out: TextIO | None = None) -> bool:
        """Run what is missing and write the report; True if every system asked for has results.

        A row whose model does not exist is reported, and is no failure.
        """
        remove_old_partials(self.output)
        runnable = [planned for planned in self.asked if not planned.why_not]
        # seed by seed: every system has one result before any has two
        jobs = [
            job for seed in self.seeds for each in runnable for job in self._missing(each, seed)
        ]
        there = len(runnable) * len(self.seeds) - sum(job.action == TRAIN for job in jobs)
        board = Board(len(runnable) * len(self.seeds), there, self.jobs, out)
        for planned in self.asked:
            if planned.why_not:
                board.tell(f"not run   {planned.row.label}: {planned.why_not}")
        if there:
            board.tell(f"{there} results are there already, in {self.results.path}")

        def after(outcome: Outcome) -> list[Job]:
            follows = self._keep(outcome)
            board.ended(outcome, _in_words(outcome.cells))
            return follows

        run_jobs(jobs, self.jobs, after, board.watch)
        board.tell(f"written   {', '.join(self.report())} in {self.output}")
        mistaken = [each for each in self.asked if each.why_not and NO_MODEL not in each.why_not]
        return not (mistaken or self.errors or self.unmeasured)

    def report(self) -> list[str]:
        """Write tables, significance and figures of existing results; returns the file names."""
        shown = list(self._shown())
        impressions = {
            each.row.label: {
                seed: file
                for seed in each.seeds
                if (file := self._impressions(planned, seed)).is_file()
            }
            for planned, each in shown
            if each.means
        }
        write_text(self.output / NOT_RUN, as_csv(["system", "seed", "reason"], self._not_run()))
        systems = [each for _, each in shown]
        reported = Reported(
            self.suite,
            self.dataset,
            self.seeds,
            systems,
            self._rows(),
            impressions,
            list(self._notes()),
            self.settings,
        )
        written = write_report(self.output, reported)
        return [RESULTS, NOT_RUN, *written]

    def kept(self, label: str, seed: int) -> tuple[dict[str, str], Path] | None:
        """The row of a system and its impressions' metrics; None where one of them is missing."""
        planned = next(each for each in self.planned if each.row.label == label)
        row = self._row(planned, seed)
        if row is None or not self._impressions(planned, seed).is_file():
            return None
        return row, self._impressions(planned, seed)

    def why_not(self, label: str, seed: int) -> str:
        """Why a system has no result: no such model, or its training failed or is to come."""
        planned = next(each for each in self.planned if each.row.label == label)
        return planned.why_not or self.errors.get((label, seed), "not run")

    def _row(self, planned: PlannedRow, seed: int) -> dict[str, str] | None:
        if planned.why_not:
            return None
        return self.results.of(planned.row.label, seed, planned.fingerprints[seed])

    def _has_metrics(self, planned: PlannedRow, seed: int) -> bool:
        """Whether it was tested by all metrics that are asked for: no fingerprint has them."""
        file = self._impressions(planned, seed)
        if not planned.further:
            return True
        return file.is_file() and read_impression_metrics(file).further.keys() >= {*planned.further}

    def _missing(self, planned: PlannedRow, seed: int) -> list[Job]:
        row = self._row(planned, seed)
        if row is None or not self._has_metrics(planned, seed):
            return [self._job(TRAIN, planned, seed)]
        return [] if row["device"] else [self._job(MEASURE, planned, seed)]

    def _job(self, action: str, planned: PlannedRow, seed: int) -> Job:
        threads = torch.get_num_threads()
        name = planned.file_name(seed)
        return Job(
            action=action,
            system=planned.row.label,
            seed=seed,
            model=planned.row.model,
            dataset=self.dataset,
            settings=planned.settings,
            threads=max(1, threads // self.jobs // self.processes) if action == TRAIN else threads,
            answer=self.output / "logs" / f"{name}.json",
            log=self.output / "logs" / f"{name}.log",
            impressions=self._impressions(planned, seed),
            processes=self.processes,
        )

    def _impressions(self, planned: PlannedRow, seed: int) -> Path:
        return self.output / "impressions" / f"{planned.file_name(seed)}.npz"

    def _keep(self, outcome: Outcome) -> list[Job]:
        """Write the result of a job into its row; returns the job that follows it, if any."""
        job = outcome.job
        key = (job.system, job.seed)
        if outcome.error is not None:
            if job.action == TRAIN:
                self.errors[key] = " ".join(outcome.error.split())
            else:
                self.unmeasured[job.system] = " ".join(outcome.error.split())
            return []
        planned = next(each for each in self.planned if each.row.label == job.system)
        mark = planned.fingerprints[job.seed]
        cells = outcome.cells
        if job.action == MEASURE:  # even without cells: it is measured
            cells = {"device": "-", **cells}
        self.results.put({"system": job.system, "seed": job.seed, "settings": mark, **cells})
        row = self._row(planned, job.seed)
        measured = row is not None and row["device"]
        return [] if measured else [self._job(MEASURE, planned, job.seed)]

    def _shown(self) -> Iterator[tuple[PlannedRow, SystemResult]]:
        """Rows of the table: those asked for, and those that have results of these settings."""
        for planned in self.planned:
            rows = {seed: row for seed in self.seeds if (row := self._row(planned, seed))}
            errors = [
                text for (label, _), text in self.errors.items() if label == planned.row.label
            ]
            if rows or planned in self.asked:
                why_not = planned.why_not or next(iter(errors), "")
                yield planned, summarise(planned.row, rows, why_not)

    def _not_run(self) -> Iterator[dict[str, Any]]:
        for planned in self.asked:
            if planned.why_not:
                yield {"system": planned.row.label, "seed": "", "reason": planned.why_not}
        for (label, seed), reason in self.errors.items():
            yield {"system": label, "seed": seed, "reason": reason}

    def _rows(self) -> list[dict[str, str]]:
        return [
            row
            for planned in self.planned
            for seed in self.seeds
            if (row := self._row(planned, seed))
        ]

    def _notes(self) -> Iterator[str]:
        yield from notes_of(self.dataset, self._rows())
        for label, reason in self.unmeasured.items():
            yield f"Speed of {label} was not measured: {reason}"


def _in_words(cells: Mapping[str, Any]) -> str:
    known = [f"{HEADS[name]} {cells[name]:.4f}" for name in METRICS if cells.get(name) is not None]
    if cells.get("news_per_second") is not None:
        known.append(f"{cells['news_per_second']:,.0f} news/s")
    return ", ".join(known)
