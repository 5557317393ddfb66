"""Reports of results whose data, language model or code are not at hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmark_rows import keep, squeeze, write_suite

from recbole_tinynews.benchmark.command import main
from recbole_tinynews.benchmark.report import FoundResults
from recbole_tinynews.benchmark.results import METRICS, ResultsFile


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Results of a suite; of one row three times, with the impressions of the second alone."""
    output = tmp_path / "out"
    (output / "impressions").mkdir(parents=True)
    results = ResultsFile(output / "results.csv")
    for system, seed, mark, auc in (
        ("PLM-NR_2", 1, "old", 0.4),
        ("PLM-NR_2", 1, "kept", 0.5),
        ("PLM-NR_2", 1, "lost", 0.6),
        ("PLM-NR_1", 1, "first", 0.7),
        ("PLM-NR_1", 1, "last", 0.8),
        ("PLM-NR_1", 2, "other", 0.9),
    ):
        row = dict.fromkeys(METRICS, auc)
        results.put({"system": system, "seed": seed, "settings": mark, "impressions": 2, **row})
    keep(tmp_path, "made", ["0.4", "0.6"]).rename(output / "impressions/PLM-NR_2-1-kept.npz")
    return output


def test_the_last_row_counts_of_those_whose_impressions_are_there(folder: Path) -> None:
    """Two versions of a row mixed, or the one that no test can be made of, would be shown."""
    found = FoundResults(write_suite(folder.parent), "nowhere", output=folder)
    written = found.report()
    table = squeeze((folder / "table.md").read_text(encoding="utf-8"))
    assert "| PLM-NR_2 | 50.00 |" in table
    assert "| PLM-NR_1 | **80.00** |" in table  # seed 2 is none of the suite's
    assert "Data set nowhere: 2 test impressions." in table
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == sorted(
        ["results.csv", *written]
    )


def test_the_layers_of_the_language_model_are_those_of_the_labels(tmp_path: Path) -> None:
    """The suite expects 3 layers; results of one with 6 would be no rows of it."""
    rows = [{"label": "PLM-NR_{layers}", "model": "PLMNR"}]
    suite = write_suite(tmp_path, rows=rows)
    results = ResultsFile(tmp_path / "results.csv")
    results.put({"system": "PLM-NR_6", "seed": 1, "settings": "x", "auc": 0.5})
    assert [row.label for row in FoundResults(suite, "d", output=tmp_path).suite.rows] == [
        "PLM-NR_6"
    ]


def test_a_folder_without_such_results_is_refused(tmp_path: Path) -> None:
    """An empty table would replace a good one."""
    with pytest.raises(ValueError, match=r"has none\. Name --suite, --dataset, --seeds"):
        FoundResults(write_suite(tmp_path), "d", output=tmp_path)


def test_the_command_needs_neither_data_nor_language_model(folder: Path, capsys) -> None:
    """Committed figures could be made again by nobody who lacks a licensed data set."""
    asked = [f"--suite={write_suite(folder.parent)}", "--dataset=nowhere", f"--output={folder}"]
    main([*asked, "--report-only=found"])
    assert "written   table.md" in capsys.readouterr().out
    for more in ("--systems=PLMNR", "--epochs=2", "--folds=3"):
        with pytest.raises(SystemExit):
            main([*asked, "--report-only=found", more])
        assert "expects --suite, --dataset, --seeds and --output alone" in capsys.readouterr().err
