from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from benchmark_rows import system

from recbole_tinynews.benchmark.figures import as_png
from recbole_tinynews.benchmark.impressions import keep_eval_dump, read_impression_metrics
from recbole_tinynews.benchmark.plots import suite_figures
from recbole_tinynews.benchmark.report import (
    compare_systems,
    read_means,
    significance_csv,
    write_report,
)
from recbole_tinynews.benchmark.suite import FIGURES, read_suite


def keep(folder: Path, name: str, auc: list[str], ids: str = "i") -> Path:
    """Save metrics of impressions, each metric equal to the given AUC; returns the file."""
    dump, place = folder / f"{name}.csv", folder / f"{name}.npz"
    lines = [f"{ids}{row},{','.join([value] * 4)}" for row, value in enumerate(auc)]
    dump.write_text("\n".join(["impression_id,auc,mrr,ndcg@5,ndcg@10", *lines]) + "\n")
    keep_eval_dump(dump, place)
    return place


def test_impressions_come_back_as_they_were_dumped(tmp_path: Path) -> None:
    """A skipped impression that becomes 0 lowers every mean."""
    kept = read_impression_metrics(keep(tmp_path, "a", ["0.25", "", "1.0"]))
    np.testing.assert_array_equal(kept.values[:, 0], np.float32([0.25, np.nan, 1.0]))
    assert kept.values.shape == (3, 4)
    assert kept.of == read_impression_metrics(keep(tmp_path, "b", ["0", "0", "0"])).of
    assert kept.of != read_impression_metrics(keep(tmp_path, "c", ["0", "0", "0"], "j")).of


def test_significance_is_of_means_over_seeds_without_skipped_impressions(tmp_path: Path) -> None:
    reference = [keep(tmp_path, "r1", ["0.2", "", "0.4"]), keep(tmp_path, "r2", ["0.4", "", "0.6"])]
    other = [keep(tmp_path, "o", ["0.5", "", "0.9"])]
    means = read_means({"R": reference, "O": other})
    found = compare_systems(means)
    assert found["auc"]["O", "R"].difference == pytest.approx((0.2 + 0.4) / 2)
    rows = list(csv.DictReader(significance_csv(found).splitlines()))
    assert [row["metric"] for row in rows[::2]] == ["auc", "mrr", "ndcg@5", "ndcg@10"]
    assert {(row["system"], row["reference"], row["difference"]) for row in rows} == {
        ("O", "R", "0.3"),
        ("R", "O", "-0.3"),
    }


def test_systems_that_ranked_other_impressions_are_not_compared(tmp_path: Path) -> None:
    """An equal number of impressions does not make them the same impressions."""
    files = {"A": [keep(tmp_path, "a", ["0.2"])], "B": [keep(tmp_path, "b", ["0.3"], "j")]}
    with pytest.raises(ValueError, match="the same impressions"):
        read_means(files)


@pytest.fixture
def systems():
    """Every row of the paper, with results of two seeds."""
    made = []
    for place, row in enumerate(read_suite("paper", "mind-small").rows):
        seeds = [
            {
                "auc": 0.6 + 0.001 * place + noise,
                "ndcg@10": 0.4 + noise,
                "parameters": 1e7 * row.layers,
                "news_per_second": 1000 / row.layers,
            }
            for noise in (0.001, -0.001)
        ]
        one = system(row.label, *seeds)
        made.append(one._replace(row=row))
    return made


def test_every_figure_names_its_axes_and_shows_every_row_of_its_families(systems) -> None:
    """A line that is missing from a figure is a result that nobody looks for."""
    figures = dict(suite_figures(read_suite("paper", "mind-small"), systems))
    assert tuple(figures) == FIGURES
    shown = {}
    for name, figure in figures.items():
        assert figure.get_size_inches()[0] == pytest.approx(3.35)  # a column
        for axes in figure.axes:
            assert axes.get_xlabel()
            assert axes.get_ylabel() or name == "stages"
        shown[name] = [
            [container.lines[0].get_xydata().round(4).tolist() for container in axes.containers]
            for axes in figure.axes
        ]
    (size,), (losses,) = shown["size"], shown["losses"]
    assert [len(line) for line in size] == [4, 4, 3, 3, 3]
    assert size[0] == [[10, 60.9], [20, 60.8], [40, 60.7], [120, 60.3]]
    assert [len(line) for line in losses] == [3, 3, 3, 3]
    assert [[x for x, _ in line] for line in shown["teachers"][0]] == [[1, 2, 3, 4, 5, 6]]
    labels = [text.get_text() for text in figures["stages"].axes[0].get_yticklabels()]
    assert labels == [
        *("Tiny-NewsRec_4", "Tiny-NewsRec_4 w/o Stage I", "Tiny-NewsRec_4 w/o Stage II"),
        "PLM-NR_4 (FT)",
    ]
    names = [text.get_text() for text in figures["size"].legends[0].get_texts()]
    assert names == ["PLM-NR (FT)", "PLM-NR (DP)", "TinyBERT", "NewsBERT", "Tiny-NewsRec"]


def test_nothing_of_a_figure_is_cut_off(systems) -> None:
    """A legend that is wider than the column ends in the middle of a word."""
    for figure in dict(suite_figures(read_suite("paper", "mind-small"), systems)).values():
        renderer = figure.canvas.get_renderer() if hasattr(figure.canvas, "get_renderer") else None
        width, height = figure.bbox.size
        for part in [*figure.legends, *(axes for axes in figure.axes)]:
            box = part.get_tightbbox(renderer)
            assert box.x0 >= -1
            assert box.x1 <= width + 1
            assert box.y0 >= -1
            assert box.y1 <= height + 1


def test_a_report_of_a_few_rows_is_written_whole(systems, tmp_path: Path) -> None:
    """After the first hour of a benchmark only a few rows have results."""
    suite = read_suite("paper", "mind-small")
    written = write_report(tmp_path, suite, [1, 2], systems[3:4], {}, [])
    figures = ["size.svg", "size.png", "speed.svg", "speed.png"]
    assert written == ["table.md", "table.tex", "speed.md", "cold.md", *figures]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(written)
    assert (tmp_path / "size.png").read_bytes().startswith(b"\x89PNG")


def test_a_system_without_impressions_is_named_and_the_others_are_tested(
    systems, tmp_path: Path
) -> None:
    """A significance test left from an earlier report would not match the table."""
    suite = read_suite("paper", "mind-small")
    reference, other, lost = suite.reference, "TinyBERT_4", "NewsBERT_4"
    files = {name: {1: keep(tmp_path, name, ["0.2", "0.4"])} for name in (reference, other)}
    files[other][2] = keep(tmp_path, "of another seed", ["0.9", "0.9"])  # nothing to compare with
    out = tmp_path / "out"
    out.mkdir()
    written = write_report(out, suite, [1, 2], systems, {**files, lost: {}}, [])
    assert {"significance.csv", "significance.md"} <= {*written}
    text = (out / "significance.md").read_text(encoding="utf-8")
    assert f"| {other} | +0.00" in text
    assert "over the seeds that all systems have: 1." in text
    assert f"left out: {lost}." in text
    write_report(out, suite, [1, 2], systems, {reference: files[reference], other: {}}, [])
    assert not list(out.glob("significance.*"))


def test_the_same_figure_is_the_same_file(systems) -> None:
    suite = read_suite("paper", "mind-small")
    one, other = (as_png(next(suite_figures(suite, systems))[1]) for _ in range(2))
    assert one == other
