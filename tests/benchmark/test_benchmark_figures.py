from __future__ import annotations

import pytest

from recbole_tinynews.benchmark.figures import BESIDE, Plot, Series, column_figure


def test_bars_of_equal_x_stand_side_by_side_and_inside_of_the_axes() -> None:
    """Five systems of one size would be one bar, the last of them."""
    series = [Series(name, [1, 2], [60, 61], [1, 1]) for name in ("A", "B")]
    figure = column_figure([Plot("layers", "AUC (%)", series)])
    (axes,) = figure.axes
    places = [
        bars.lines[0].get_transform().transform(bars.lines[0].get_xydata())
        for bars in axes.containers
    ]
    apart = places[1] - places[0]
    assert apart[:, 0] == pytest.approx(BESIDE / 72 * figure.dpi)
    assert apart[:, 1] == pytest.approx(0)
    low, high = axes.get_ylim()
    assert low < 59
    assert high > 62
