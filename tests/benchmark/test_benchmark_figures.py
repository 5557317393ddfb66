from __future__ import annotations

import itertools

import numpy as np
import pytest

from recbole_tinynews.benchmark.figures import Plot, Point, Series, column_figure, place_labels


def points(*places: tuple[float, float]) -> list[Point]:
    return [Point(x, y, y - 1, y + 2, "4") for x, y in places]


def test_points_of_one_category_stand_side_by_side_inside_of_its_room() -> None:
    """Five systems of one category would be one bar, the last of them."""
    series = [Series(name, points((0, 60), (1, 61))) for name in "ABCDE"]
    figure = column_figure([Plot("layers", "AUC (%)", series, categories=["1", "2"])])
    (axes,) = figure.axes
    # [series, categories]
    x = np.array([bars.lines[0].get_xdata() for bars in axes.containers], np.float64)
    assert (np.diff(x, axis=0) > 0.05).all()
    assert np.abs(x - [0, 1]).max() < 0.5
    assert np.allclose(x.mean(axis=0), [0, 1])
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "2"]


def test_points_of_one_quantity_stand_exactly_there_and_bars_inside_of_the_axes() -> None:
    """Moved aside, they would be read as other quantities."""
    series = [Series(name, points((10, 60), (20, 61))) for name in "AB"]
    figure = column_figure([Plot("parameters", "AUC (%)", series)])
    (axes,) = figure.axes
    assert all(bars.lines[0].get_xdata().tolist() == [10, 20] for bars in axes.containers)
    low, high = axes.get_ylim()
    assert low < 59
    assert high > 63


@pytest.mark.parametrize("apart", [0.0, 1.0, 4.0, 30.0])
def test_labels_of_near_points_cover_neither_each_other_nor_a_marker(apart: float) -> None:
    """Two sizes printed over each other are a third one."""
    places = [(50.0, 50.0 + apart * number) for number in range(4)]
    boxes = place_labels(places, ["4", "12", "4", "2"])
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    for box, (x, y) in itertools.product(boxes, places):
        assert not box.contains(x, y)
