from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_rows import keep, squeeze, system
from matplotlib.figure import Figure

from recbole_tinynews.benchmark.figures import FORMATS, save, suite_figures
from recbole_tinynews.benchmark.report import Report, write_report
from recbole_tinynews.benchmark.results import METRICS, SystemResult
from recbole_tinynews.benchmark.significance import Intervals
from recbole_tinynews.benchmark.suite import ADDED, FIGURES, Suite, read_suite


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
                "ndcg@10": 0.4 + noise,
                "parameters": 1e7 * row.layers,
                "news_per_second": 1000 / row.layers,
            }
            for noise in (0.001, -0.001)
        ]
        one = system(row.label, *seeds)
        made.append(one._replace(row=row))
    return made


@pytest.fixture(scope="module")
def intervals(systems) -> Intervals:
    """Intervals that reach 0.02 below each mean and 0.01 above it."""
    names = [(each.row.label, metric) for each in systems for metric in METRICS]
    return Intervals(dict.fromkeys(names, (0.02, 0.01)))


@pytest.fixture(scope="module")
def figures(suite, systems, intervals) -> dict[str, Figure]:
    return dict(suite_figures(suite, systems, intervals))


def with_impressions(each: SystemResult, folder: Path) -> SystemResult:
    return each._replace(impressions={1: keep(folder, each.row.label, ["0.2", "0.4"])})


def test_every_figure_names_its_axes_and_shows_every_row_of_its_families(figures) -> None:
    """A line that is missing from a figure is a result that nobody looks for."""
    assert tuple(figures) == FIGURES
    shown = {}
    for name, figure in figures.items():
        assert figure.get_size_inches()[0] == pytest.approx(3.35)  # a column
        for axes in figure.axes:
            assert axes.get_xlabel()
            assert axes.get_ylabel() or name == "stages"
        assert figure.axes[-1].get_xlabel().endswith("\nbars: 95 % bootstrap over users")
        shown[name] = [
            [container.lines[0].get_xydata().round(4).tolist() for container in axes.containers]
            for axes in figure.axes
        ]
    (size,), (losses,) = shown["size"], shown["losses"]
    assert [len(line) for line in size] == [4, 4, 3, 3, 3]
    assert size[0] == [[10, 61.1], [20, 61.0], [40, 60.9], [120, 60.5]]
    assert [len(line) for line in losses] == [3, 3, 3, 3]
    assert [[x for x, _ in line] for line in shown["teachers"][0]] == [[1, 2, 3, 4, 5, 6]]
    labels = [text.get_text() for text in figures["stages"].axes[0].get_yticklabels()]
    assert labels == [
        *("Tiny-NewsRec_4", "Tiny-NewsRec_4 w/o Stage I", "Tiny-NewsRec_4 w/o Stage II"),
        "PLM-NR_4 (FT)",
    ]
    names = [text.get_text() for text in figures["size"].legends[0].get_texts()]
    assert names == ["PLM-NR (FT)", "PLM-NR (DP)", "TinyBERT", "NewsBERT", "Tiny-NewsRec"]


def test_every_point_has_its_interval_its_size_and_its_true_place(figures) -> None:
    """A point that is moved aside says that its system has another size, or speed."""
    for name in ("size", "speed"):
        (axes,) = figures[name].axes
        assert len(axes.texts) == sum(len(c.lines[0].get_xdata()) for c in axes.containers) == 17
        assert sorted(text.get_text() for text in axes.texts) == sorted(
            [*["1"] * 5, *["2"] * 5, *["4"] * 5, *["12"] * 2]
        )
        assert {x for c in axes.containers for x in c.lines[0].get_xdata()} == (
            {10.0, 20.0, 40.0, 120.0} if name == "size" else {1000.0, 500.0, 250.0, 1000 / 12}
        )
        for container in axes.containers:
            (bars,) = container.lines[2]
            for (x, y), bar in zip(
                container.lines[0].get_xydata(), bars.get_segments(), strict=True
            ):
                assert bar[:, 0].tolist() == [x, x]
                assert bar[:, 1].tolist() == pytest.approx([y - 2, y + 1])


def test_rows_of_one_architecture_have_one_speed(suite) -> None:
    """Noise between two measurements would look like one way of training being faster."""
    rows = [row for row in suite.rows if row.label.endswith("_4")]
    speeds = {"Tiny-NewsRec_4": 90, "TinyBERT_4": 100, "NewsBERT_4": 125}
    systems = [
        system("x", {"auc": 0.6, "parameters": 5e7, "news_per_second": speeds[row.label]})._replace(
            row=row
        )
        for row in rows
        if row.label in speeds
    ]
    shown = suite._replace(figures={"speed": suite.figures["speed"]})
    ((_, figure),) = suite_figures(shown, systems, Intervals())
    (axes,) = figure.axes
    assert [c.lines[0].get_xdata().tolist() for c in axes.containers] == [[100.0]] * 3


def test_a_student_without_layers_is_labelled_0() -> None:
    """Its number of parameters would stand among numbers of layers."""
    suite = read_suite("sizes", "ebnerd")
    students = [
        system(row.label, {"auc": 0.6, "parameters": 1e7 + row.layers})._replace(row=row)
        for row in suite.rows
        if row.family == "ZeroShotStudent"
    ]
    ((_, figure),) = suite_figures(suite, students, Intervals())
    assert sorted(text.get_text() for text in figure.axes[0].texts) == ["0", "1", "2", "4"]


def test_no_line_joins_single_runs(suite, systems, figures, intervals) -> None:
    """A trend through three numbers of one seed each is noise that looks like a result."""
    single = [each._replace(cells={1: each.cells[1]}) for each in systems]
    for drawn_figures, dashed in (
        (figures, True),
        (dict(suite_figures(suite, single, intervals)), False),
    ):
        for name, figure in drawn_figures.items():
            lines = [c.lines[0] for axes in figure.axes for c in axes.containers]
            drawn = {line.get_linestyle() != "None" for line in lines if len(line.get_xdata()) > 1}
            assert drawn <= {dashed and name not in ("losses", "stages")}


def test_a_report_of_a_few_rows_is_written_whole(suite, systems, tmp_path: Path) -> None:
    """After the first hour of a benchmark only a few rows have results."""
    one = [each for each in systems if each.row.label == "PLM-NR_12 (FT)"]
    written = write_report(tmp_path, Report(suite, [1, 2], one))
    figures = [f"{name}.{kind}" for name in ("size", "speed") for kind in ("svg", "png")]
    tables = ["table.md", "table.tex", "speed.md", "cold.md"]
    assert written == [*tables, *figures]
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
    written = write_report(tmp_path, Report(suite._replace(figures={}), [1], shown))
    assert {"significance.csv", "significance.md"} <= {*written}
    lines = squeeze((tmp_path / "significance.md").read_text(encoding="utf-8")).splitlines()
    assert [line.split(" | ")[0] for line in lines if " against " in line][1:] == [
        "| Tiny-NewsRec_4 against TinyBERT_4",
        "| Mine against Tiny-NewsRec_4",
    ]


def test_nothing_of_a_figure_is_cut_off(figures) -> None:
    """A legend that is wider than the column ends in the middle of a word."""
    for figure in figures.values():
        figure.draw_without_rendering()  # lays it out
        for part in [*figure.legends, *figure.axes]:
            box = part.get_tightbbox()
            assert -1 <= box.x0 < box.x1 <= figure.bbox.width + 1
            assert -1 <= box.y0 < box.y1 <= figure.bbox.height + 1


def test_the_same_figure_is_the_same_file(
    suite, systems, figures, intervals, tmp_path: Path
) -> None:
    """Committed figures would change with every report."""
    save(figures["size"], tmp_path / "one")
    save(next(suite_figures(suite, systems, intervals))[1], tmp_path / "other")
    for kind in FORMATS:
        one, other = ((tmp_path / f"{name}.{kind}").read_bytes() for name in ("one", "other"))
        assert one == other


def test_each_file_of_impressions_is_read_once(suite, systems, tmp_path: Path, monkeypatch) -> None:
    """Of large test sets they are slow to unpack, and four parts of a report use them."""
    labels = ["Tiny-NewsRec_4", "TinyBERT_4"]
    shown = [with_impressions(each, tmp_path) for each in systems if each.row.label in labels]
    read: list[Path] = []

    def counted(place: Path, **given: Any) -> Any:
        read.append(Path(place))
        return load(place, **given)

    load = np.load
    monkeypatch.setattr(np, "load", counted)
    write_report(tmp_path, Report(suite._replace(figures={}), [1], shown))
    assert sorted(read) == sorted(each.impressions[1] for each in shown)
