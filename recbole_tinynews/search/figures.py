"""Figures of a search: validation metrics by trial, and the importance of each setting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from recbole_tinynews.benchmark.figures import COLUMN, tidy
from recbole_tinynews.pipeline.training_figure import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def history_figure(
    complete: Mapping[int, float], pruned: Mapping[int, float], metric: str, bigger: bool
) -> Figure:
    """Values by trial number and the best so far; pruned trials have their last validation's."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = _figure(2.4)
    numbers, values = [*complete], [*complete.values()]
    axes.plot(numbers, values, "o", color=COLOURS[2], markersize=3.5, label="complete")
    if pruned:
        axes.plot(
            [*pruned], [*pruned.values()], "x", color="#888888", markersize=3.5, label="pruned"
        )
    best = (np.maximum if bigger else np.minimum).accumulate(values)
    axes.step(numbers, best, where="post", color=COLOURS[4], linewidth=1.2, label="best so far")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=7)
    tidy(axes, "trial", f"{metric} on validation")
    return figure


def importance_figure(importances: Mapping[str, float], metric: str) -> Figure:
    """One bar per setting, the most important on top; they sum to 1."""
    figure, axes = _figure(0.7 + 0.25 * len(importances))
    names = sorted(importances, key=lambda name: importances[name])
    axes.barh(names, [importances[name] for name in names], color=COLOURS[2], height=0.6)
    tidy(axes, f"importance for {metric}", "")
    return figure


def _figure(height: float) -> tuple[Figure, Axes]:
    import matplotlib
    from matplotlib.figure import Figure  # slow to import

    with matplotlib.rc_context({"font.size": 8}):
        figure = Figure(figsize=(COLUMN, height), layout="constrained")
        return figure, figure.subplots()
