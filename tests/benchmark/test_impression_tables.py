"""Tables that are made of the metrics of impressions: slices, and metrics asked for in addition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from benchmark_rows import keep, squeeze

from recbole_tinynews.benchmark.impressions import read_files
from recbole_tinynews.benchmark.report import further_table, slice_tables
from recbole_tinynews.benchmark.result_table import as_markdown

ABOUT = {"histories": [0, 3, 5, 60, 2], "hours": [23, 0, 0, 9, 9]}


def test_slices_are_means_over_their_ranked_impressions_and_then_over_seeds(tmp_path: Path) -> None:
    """Seeds with more impressions in a slice, or skipped ones, would weigh more."""
    files = {
        "A": {
            1: keep(tmp_path, "a1", ["0.5", "0.25", "0.75", "1.0", ""], **ABOUT),
            2: keep(tmp_path, "a2", ["0.5", "0.75", "0.75", "0.0", ""], **ABOUT),
        },
        "B": {1: keep(tmp_path, "b1", ["0.5", "0.5", "0.5", "0.75", ""], **ABOUT)},
        "C": {},
    }
    lengths, hours = (
        squeeze(as_markdown(each)).splitlines() for each in slice_tables("ABC", read_files(files))
    )
    assert lengths[0] == "| System, by clicks in the history | 0 (1) | 1-5 (2) | 51+ (1) |"
    assert lengths[2:4] == [
        "| A | 50.00 ± 0.00 | 62.50 ± 17.68 | 50.00 ± 70.71 |",
        "| B | 50.00 | 50.00 | 75.00 |",
    ]
    assert hours[0] == "| System, by hour (UTC) | 00 (2) | 09 (1) | 23 (1) |"
    assert hours[3] == "| B | 50.00 | 75.00 | 50.00 |"
    assert "C" not in {line[2] for line in lengths[2:] if line.startswith("| ")}


def test_files_that_know_no_hours_have_no_slices_and_are_put_into_those_of_others(
    tmp_path: Path,
) -> None:
    """Committed results are of earlier versions; beside a new system they have the same rows."""
    new = keep(tmp_path, "new", ["0.5", "0.25", "0.75", "1.0", "0.5"], **ABOUT)
    old = tmp_path / "old.npz"
    with np.load(new) as arrays:
        np.savez(old, values=arrays["values"], ids=arrays["ids"])
    assert slice_tables(["old"], read_files({"old": {1: old}})) == []
    lengths, _ = slice_tables(["old", "new"], read_files({"old": {1: old}, "new": {1: new}}))
    first, second = (cells[1:] for cells in lengths.groups[0])
    assert first == second


def test_further_metrics_are_means_over_the_impressions_that_have_a_value(tmp_path: Path) -> None:
    """A missing value that counts as 0 would call a new user calibrated."""
    columns = {"hit@5": ["1", "0", ""], "calibration@5": ["2", "", "3"]}
    files = {
        "A": {
            1: keep(tmp_path, "a1", ["0.5"] * 3, further=columns),
            2: keep(tmp_path, "a2", ["0.5"] * 3, further={**columns, "hit@5": ["1", "1", ""]}),
        },
        "B": {1: keep(tmp_path, "b1", ["0.5"] * 3, further={"calibration@5": ["0.5", "", ""]})},
        "C": {1: keep(tmp_path, "c1", ["0.5"] * 3)},
    }
    lines = squeeze(as_markdown(further_table("ABC", read_files(files)))).splitlines()
    assert lines[0] == "| System | hit@5 | calibration@5 |"
    assert lines[2:4] == ["| A | 0.7500 ± 0.3536 | 2.5000 ± 0.0000 |", "| B | | 0.5000 |"]
    assert "| C |" not in "\n".join(lines)
    assert lines[-1].endswith("left out: hit@5 1 of 3; calibration@5 1 to 2 of 3.")
    assert further_table("C", read_files(files)).groups == []
