"""Folds of a cross-validation: each is a benchmark, and their impressions are one test set."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from benchmark_rows import RunHere, write_suite
from tiny import DATASET, Tiny, write_dataset

from recbole_tinynews.benchmark.benchmark import CrossValidation
from recbole_tinynews.benchmark.impressions import read_impression_metrics
from recbole_tinynews.config import NewsConfig

ROWS = [{"label": "A", "model": "Random"}, {"label": "B", "model": "CategoryMatch"}]


@pytest.fixture(autouse=True)
def _run_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recbole_tinynews.benchmark.benchmark.run_jobs", RunHere())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two folds, whose test sets hold other impressions."""
    folder = write_dataset(tmp_path / "data")
    for fold in (1, 2):
        name = f"{DATASET}-fold{fold}"
        (folder / name).mkdir()
        for file in (folder / DATASET).iterdir():
            if file.is_file():
                copy = folder / name / file.name.replace(DATASET, name, 1)
                lines = file.read_text().splitlines(keepends=True)
                kept = lines[:1] + lines[fold::2] if ".test." in file.name else lines
                copy.write_text("".join(kept))
    return folder


def benchmark(tmp_path: Path, data: Path) -> CrossValidation:
    return CrossValidation(
        2,
        DATASET,
        tmp_path / "out",
        suite=write_suite(tmp_path, rows=ROWS, comparisons=[["B", "A"]], seeds=[1, 2, 3]),
        settings={"data_path": str(data), "checkpoint_dir": str(tmp_path / "saved")},
    )


def test_every_impression_counts_once(tmp_path: Path, data: Path) -> None:
    """A mean of the folds' means would weigh the impressions of a small fold more."""
    assert benchmark(tmp_path, data).run(io.StringIO())
    out = tmp_path / "out"
    with (out / "results.csv").open() as file:
        rows = {(row["system"], row["seed"]): row for row in csv.DictReader(file)}
    assert rows.keys() == {(label, seed) for label in "AB" for seed in "123"}
    with (out / "fold1" / "results.csv").open() as file:
        order = [(row["system"], row["seed"]) for row in csv.DictReader(file)]
    assert order == [(label, seed) for seed in "123" for label in "AB"]  # one result of each first
    values = np.concatenate(
        [
            read_impression_metrics(file).values
            for fold in (1, 2)
            for file in sorted((out / f"fold{fold}" / "impressions").glob("B-1-*.npz"))
        ]
    )
    tested = values[~np.isnan(values[:, 0])]
    assert float(rows["B", "1"]["auc"]) == pytest.approx(tested[:, 0].mean(), abs=1e-6)
    assert int(rows["B", "1"]["impressions"]) == len(tested)
    assert f"{len(tested)} impressions of 2 folds" in (out / "table.md").read_text()
    assert "B" in (out / "significance.md").read_text()


def test_a_budget_is_that_of_one_training(tmp_path: Path, data: Path) -> None:
    """The sum of five trainings, or nothing, beside tables of single ones."""
    made = benchmark(tmp_path, data)
    made.run(io.StringIO())
    for part, tokens in zip(made.parts, (100, 303), strict=True):
        for seed in (1, 2, 3):
            row, _ = part.kept("A", seed)
            marks = {name: row[name] for name in ("system", "seed", "settings")}
            part.results.put({**marks, "tokens": tokens, "teachers_flops": 2 * tokens})
    made.report()
    with (tmp_path / "out" / "results.csv").open() as file:
        names = "system", "tokens", "teachers_flops"
        budgets = {tuple(row[name] for name in names) for row in csv.DictReader(file)}
    assert budgets == {("A", "202", "403"), ("B", "0", "0")}
    assert re.search(r"A +\|.* 202 ", (tmp_path / "out" / "budget.md").read_text())


def test_a_system_that_a_fold_lacks_is_not_pooled(tmp_path: Path, data: Path) -> None:
    """Half of the impressions are not comparable with all of them."""
    made = benchmark(tmp_path, data)
    made.parts[0].run(io.StringIO())
    made.report()
    assert not (tmp_path / "out" / "results.csv").exists()
    missing = (tmp_path / "out" / "not_run.csv").read_text().splitlines()
    assert missing[1:] == [f"{label},{seed},2,not run" for label in "AB" for seed in (1, 2, 3)]
    assert "Random" not in (tmp_path / "out" / "table.md").read_text()


def test_a_fold_has_the_settings_of_its_data_set(tiny: Tiny, tmp_path: Path) -> None:
    """Otherwise a cross-validation would silently train at other rates."""
    data = tmp_path / "data"
    for name in ("mind-pooled", "mind-pooled-fold3"):
        source = tiny.data / DATASET
        (data / name).mkdir(parents=True)
        for file in source.iterdir():
            if file.is_file():
                text = file.read_text()
                (data / name / file.name.replace(DATASET, name, 1)).write_text(text)
    whole, fold = (
        NewsConfig("PLMNR", name, config_dict={"data_path": str(data)})
        for name in ("mind-pooled", "mind-pooled-fold3")
    )
    for name in ("learning_rate", "finetune_layers", "plm", "max_steps"):
        assert fold[name] == whole[name]
    assert fold["max_steps"] == 60


def test_folds_of_another_partition_are_refused(tmp_path: Path, data: Path) -> None:
    """Their users would be tested twice, by models that have trained on them."""
    report = data / f"{DATASET}-fold2" / f"{DATASET}-fold2.report.json"
    for number, of, refused in ((2, 2, False), (2, 5, True), (1, 2, True)):
        report.write_text(json.dumps({"fold": {"number": number, "of": of}}))
        if refused:
            with pytest.raises(ValueError, match=f"fold 2 of 2 in .*, got fold {number} of {of}"):
                benchmark(tmp_path, data)
        else:
            benchmark(tmp_path, data)


def test_pooled_results_go_to_the_folder_of_the_suite(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a small suite would take the place of real ones."""
    monkeypatch.chdir(tmp_path)
    suite = Path(write_suite(tmp_path, rows=ROWS))
    suite.write_text(suite.read_text() + "folder: '{dataset}-small'\n")
    made = CrossValidation(2, DATASET, suite=str(suite), settings={"data_path": str(data)})
    assert made.output == tmp_path / "benchmarks" / "results" / f"{DATASET}-small"
