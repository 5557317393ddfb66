from __future__ import annotations

from pathlib import Path

import pytest
from benchmark_rows import keep, squeeze, system
from matplotlib.figure import Figure

from recbole_tinynews.benchmark.benchmark import Report, write_report
from recbole_tinynews.benchmark.result_table import FORMATS, save, size_figure
from recbole_tinynews.benchmark.results import SystemResult
from recbole_tinynews.benchmark.suite import ADDED, Suite, read_suite


@pytest.fixture(scope="module")
def suite() -> Suite:
    return read_suite("paper", "mind-small")


@pytest.fixture(scope="module")
def systems(suite: Suite) -> list[SystemResult]:
    """Every row of the paper, with results of two seeds."""
    made = []
    for place, row in enumerate(suite.rows):
        seeds = [
            {
                "auc": 0.6 + 0.001 * place + noise,
                "parameters": 1e7 * row.layers,
            }
            for noise in (0.001, -0.001)
        ]
        one = system(row.label, *seeds)
        made.append(one._replace(row=row))
    return made


@pytest.fixture(scope="module")
def figure(suite, systems) -> Figure:
    drawn = size_figure(suite, systems)
    assert drawn is not None
    return drawn


def with_impressions(each: SystemResult, folder: Path) -> SystemResult:
    return each._replace(impressions={1: keep(folder, each.row.label, ["0.2", "0.4"])})


def test_the_figure_shows_every_row_of_its_families_at_its_place(figure: Figure) -> None:
    """A line that is missing from a figure is a result that nobody looks for."""
    assert figure.get_size_inches()[0] == pytest.approx(3.35)  # a column
    (axes,) = figure.axes
    assert axes.get_xlabel().endswith("\nbars: standard deviation over seeds")
    lines = [c.lines[0].get_xydata().round(4).tolist() for c in axes.containers]
    assert [len(line) for line in lines] == [4, 4, 3, 3, 3]
    assert lines[0] == [[10, 61.1], [20, 61.0], [40, 60.9], [120, 60.5]]
    layers = sorted(text.get_text() for text in axes.texts)
    assert layers == sorted([*["1"] * 5, *["2"] * 5, *["4"] * 5, *["12"] * 2])
    for container in axes.containers:
        (bars,) = container.lines[2]
        for (x, y), bar in zip(container.lines[0].get_xydata(), bars.get_segments(), strict=True):
            assert bar[:, 0].tolist() == [x, x]
            assert bar[:, 1].tolist() == pytest.approx([y - 0.1 * 2**0.5, y + 0.1 * 2**0.5])
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["PLM-NR (FT)", "PLM-NR (DP)", "TinyBERT", "NewsBERT", "Tiny-NewsRec"]
    figure.draw_without_rendering()  # lays it out
    for part in [*figure.legends, axes]:  # nothing is cut off
        box = part.get_tightbbox()
        assert -1 <= box.x0 < box.x1 <= figure.bbox.width + 1
        assert -1 <= box.y0 < box.y1 <= figure.bbox.height + 1


def test_a_student_without_layers_is_labelled_0() -> None:
    """Its number of parameters would stand among numbers of layers."""
    suite = read_suite("sizes", "ebnerd")
    students = [
        system(row.label, {"auc": 0.6, "parameters": 1e7 + row.layers})._replace(row=row)
        for row in suite.rows
        if row.family == "ZeroShotStudent"
    ]
    drawn = size_figure(suite, students)
    assert sorted(text.get_text() for text in drawn.axes[0].texts) == ["0", "1", "2", "4"]


def test_no_line_joins_single_runs(suite, systems, figure: Figure) -> None:
    """A trend through three numbers of one seed each is noise that looks like a result."""
    single = size_figure(suite, [each._replace(cells={1: each.cells[1]}) for each in systems])
    for drawn, joined in ((figure, True), (single, False)):
        lines = [container.lines[0] for container in drawn.axes[0].containers]
        assert {line.get_linestyle() != "None" for line in lines} == {joined}


def test_the_same_figure_is_the_same_file(suite, systems, tmp_path: Path) -> None:
    """Committed figures would change with every report."""
    for name in ("one", "other"):
        save(size_figure(suite, systems), tmp_path / name)
    for kind in FORMATS:
        one, other = ((tmp_path / f"{name}.{kind}").read_bytes() for name in ("one", "other"))
        assert one == other


def test_a_report_of_a_few_rows_is_written_whole(suite, systems, tmp_path: Path) -> None:
    """After the first hour of a benchmark only a few rows have results."""
    one = [each for each in systems if each.row.label == "PLM-NR_12 (FT)"]
    written = write_report(tmp_path, Report(suite, [1, 2], one))
    assert written == ["table.md", "cold.md", "size.svg", "size.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(written)
    assert (tmp_path / "size.png").read_bytes().startswith(b"\x89PNG")


def test_declared_pairs_alone_are_tested_and_an_added_system(
    suite, systems, tmp_path: Path
) -> None:
    """A correction for all pairs of 37 systems would leave nothing to be found."""
    labels = ["Tiny-NewsRec_4", "TinyBERT_4", "TinyBERT_2"]
    shown = [each for each in systems if each.row.label in labels]
    shown.append(system("Mine", {"auc": 0.6}, group=ADDED))
    shown = [with_impressions(each, tmp_path) for each in shown]
    written = write_report(tmp_path, Report(suite._replace(figure=[]), [1], shown))
    assert {"significance.csv", "significance.md"} <= {*written}
    lines = squeeze((tmp_path / "significance.md").read_text(encoding="utf-8")).splitlines()
    assert [line.split(" | ")[0] for line in lines if " against " in line][1:] == [
        "| Tiny-NewsRec_4 against TinyBERT_4",
        "| Mine against Tiny-NewsRec_4",
    ]
