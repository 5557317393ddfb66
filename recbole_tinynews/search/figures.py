"""Figures of a search: its values by trial, and how much each setting decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from recbole_tinynews.pipeline.training_figure import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 3.35  # inches: a column of a paper in two columns


class Point(NamedTuple):
    """The value of a trial, by its number."""

    number: int
    value: float


def history_figure(
    complete: Sequence[Point],
    pruned: Sequence[Point],
    metric: str,
    better: Callable[[float, float], float],
) -> Figure:
    """Complete trials, pruned ones by their last validation, and the best complete one so far.

    ``better``: returns the better one of two values, ``max`` or ``min``.
    """
    from matplotlib.ticker import MaxNLocator

    figure, axes = _figure(2.4)
    axes.plot(*_by_axis(complete), "o", color=COLOURS[2], markersize=3.5, label="complete")
    if pruned:
        axes.plot(*_by_axis(pruned), "x", color="#888888", markersize=3.5, label="pruned")
    numbers, values = _by_axis(complete)
    best = list(accumulate(values, better))
    axes.step(numbers, best, where="post", color=COLOURS[4], linewidth=1.2, label="best so far")
    axes.set_xlabel("trial")
    axes.set_ylabel(f"{metric} on validation")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=7)
    return figure


def importance_figure(importances: Mapping[str, float], metric: str) -> Figure:
    """A bar for each setting, the most important on top; they add up to 1."""
    figure, axes = _figure(0.7 + 0.25 * len(importances))
    names = sorted(importances, key=lambda name: importances[name])
    axes.barh(names, [importances[name] for name in names], color=COLOURS[2], height=0.6)
    axes.set_xlabel(f"importance for {metric}")
    return figure


def _by_axis(points: Sequence[Point]) -> tuple[list[int], list[float]]:
    return [each.number for each in points], [each.value for each in points]


def _figure(height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure  # imported here: it takes half a second

    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    axes = figure.subplots()
    axes.tick_params(labelsize=7)
    axes.xaxis.label.set_fontsize(8)
    axes.yaxis.label.set_fontsize(8)
    axes.grid(color="#DDDDDD", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
