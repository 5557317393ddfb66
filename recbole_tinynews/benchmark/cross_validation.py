"""A benchmark on the folds of a cross-validation, whose test impressions are pooled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from recbole_tinynews.benchmark.benchmark import NOT_RUN, Benchmark
from recbole_tinynews.benchmark.impressions import (
    pool,
    read_impression_metrics,
    write_impression_metrics,
)
from recbole_tinynews.benchmark.means import SystemResult, summarise
from recbole_tinynews.benchmark.report import Reported, write_report
from recbole_tinynews.benchmark.results import METRICS, RESULTS, ResultsFile, as_csv
from recbole_tinynews.files.array_cache import content_key
from recbole_tinynews.files.whole import write_text


class CrossValidation:
    """The same benchmark on ``<dataset>-fold1`` to ``<dataset>-fold<folds>``, and on all of them.

    A system's result with a seed is the mean over the impressions of all folds, each of which was
    tested once. It is there as soon as every fold has one.

    Args:
        folds: their number, as ``convert --folds`` has made them.
        dataset: the name that their names begin with.
        output: folder of the results, those of each fold in ``fold1``, ``fold2``, ...; None:
            benchmarks/results/ and the name of the data set.
        arguments: as for ``Benchmark``.
    """

    def __init__(
        self, folds: int, dataset: str, output: str | Path | None = None, **arguments: Any
    ) -> None:
        self.dataset = dataset
        self.output = Path(output or Path("benchmarks", "results", dataset)).resolve()
        self.parts = [
            Benchmark(
                dataset=f"{dataset}-fold{number}",
                output=self.output / f"fold{number}",
                **arguments,
            )
            for number in range(1, folds + 1)
        ]

    def run(self, out: TextIO | None = None) -> bool:
        """Run what is missing in each fold and write all reports; True if nothing failed."""
        succeeded = [part.run(out) for part in self.parts]
        self.report()
        return all(succeeded)

    def report(self) -> list[str]:
        """Pool what every fold has, and write tables, significance and figures of it."""
        first = self.parts[0]
        asked = {planned.row.label for planned in first.asked}
        results = ResultsFile(self.output / RESULTS)
        systems: list[SystemResult] = []
        impressions: dict[str, Mapping[int, Path]] = {}
        pooled: list[Mapping[str, str]] = []
        missing: list[dict[str, Any]] = []
        for planned in first.planned:
            label = planned.row.label
            rows: dict[int, Mapping[str, str]] = {}
            files: dict[int, Path] = {}
            for seed in first.seeds:
                found = [part.kept(label, seed) for part in self.parts]
                there = [each for each in found if each is not None]
                if len(there) == len(self.parts):
                    rows[seed], files[seed] = self._pooled(label, seed, there, results)
                    pooled.append(rows[seed])
                missing += [
                    {
                        "system": label,
                        "seed": seed,
                        "fold": fold,
                        "reason": part.why_not(label, seed),
                    }
                    for fold, (part, each) in enumerate(
                        zip(self.parts, found, strict=True), start=1
                    )
                    if each is None and label in asked
                ]
            if rows:
                systems.append(summarise(planned.row, rows))
                impressions[label] = files
        count = sorted({row["impressions"] for row in pooled})
        write_text(self.output / NOT_RUN, as_csv(["system", "seed", "fold", "reason"], missing))
        notes = [
            f"Data set {self.dataset}: {' or '.join(count) or 'no'} impressions of "
            f"{len(self.parts)} folds, each tested once by a model that has not seen its user."
        ]
        reported = Reported(
            first.suite,
            self.dataset,
            first.seeds,
            systems,
            pooled,
            impressions,
            notes,
            first.settings,
        )
        written = write_report(self.output, reported)
        return [RESULTS, NOT_RUN, *written]

    def _pooled(
        self,
        label: str,
        seed: int,
        parts: Sequence[tuple[Mapping[str, str], Path]],
        results: ResultsFile,
    ) -> tuple[Mapping[str, str], Path]:
        """Write the row of the system, and the file with the metrics of all impressions."""
        pooled = pool([read_impression_metrics(file) for _, file in parts])
        mark = content_key([row["settings"] for row, _ in parts])[:12]
        place = self.output / "impressions" / f"{parts[0][1].stem.rpartition('-')[0]}-{mark}.npz"
        write_impression_metrics(pooled, place)
        tested = ~np.isnan(pooled.values).all(axis=1)
        means = dict(zip(METRICS, pooled.values[tested].mean(axis=0).tolist(), strict=True))
        results.put(
            {
                "system": label,
                "seed": seed,
                "settings": mark,
                **means,
                "parameters": parts[0][0]["parameters"],
                "impressions": int(tested.sum()),
                "skipped": int((~tested).sum()),
            }
        )
        return results.rows[label, seed, mark], place
