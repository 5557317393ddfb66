"""Figures of a benchmark at the width of a column, in the style of those of a training."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from recbole_tinynews.pipeline.training_figure import COLOURS, DASHES, MARKERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN = 3.35  # inches: a column of a paper in two columns
BESIDE = 2.5  # points between series whose x are equal
TWO_IN_A_ROW = 20  # characters of names that fit beside each other in a legend
SMALL: dict[Any, Any] = {"font.size": 8, "axes.linewidth": 0.6}  # readable at that width


class Series(NamedTuple):
    """A line of points, or points alone; ``errors`` reach as far to both sides of ``y``."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    errors: Sequence[float] = ()
    labels: Sequence[str] = ()  # of points


class Plot(NamedTuple):
    """One pair of axes of a figure, with what it shows."""

    x_label: str
    y_label: str
    series: Sequence[Series]
    log_x: bool = False
    whole_x: bool = False  # ticks at whole numbers only


def column_figure(plots: Sequence[Plot]) -> Figure:
    """The plots stacked at the width of a column, with one legend of all series below."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(SMALL):
        names = list(dict.fromkeys(series.name for plot in plots for series in plot.series))
        columns = 2 if max(map(len, names)) <= TWO_IN_A_ROW else 1
        legend = 0.17 * -(-len(names) // columns) if len(names) > 1 else 0
        height = 2.1 * len(plots) + 0.2 + legend
        figure = Figure(figsize=(COLUMN, height), layout="constrained")
        column = figure.subplots(len(plots), 1, squeeze=False)[:, 0]
        for axes, plot in zip(column, plots, strict=True):
            _draw_plot(figure, axes, plot, names)
        if len(names) > 1:
            handles = {h.get_label(): h for axes in column for h in axes.containers}
            figure.legend(
                [handles[name] for name in names],
                names,
                loc="outside lower center",
                ncols=columns,
                frameon=False,
                columnspacing=1.0,
                handlelength=2.2,
            )
        figure.draw_without_rendering()  # while SMALL applies
    return figure


def _draw_plot(figure: Figure, axes: Axes, plot: Plot, names: Sequence[str]) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter
    from matplotlib.transforms import ScaledTranslation

    for series in plot.series:
        place = names.index(series.name)
        # bars of equal x stand side by side: on a log axis none are equal
        aside = 0.0 if plot.log_x else BESIDE * (place - (len(names) - 1) / 2)
        move = ScaledTranslation(aside / 72, 0, figure.dpi_scale_trans)
        axes.errorbar(
            series.x,
            series.y,
            yerr=list(series.errors) or None,
            label=series.name,
            color=COLOURS[place % len(COLOURS)],
            linestyle=DASHES[place % len(DASHES)],
            marker=MARKERS[place % len(MARKERS)],
            markersize=4,
            linewidth=1.2,
            elinewidth=0.8,
            capsize=2,
            transform=axes.transData + move,
        )
        errors = series.errors or [0.0] * len(series.y)
        for x, y, error in zip(series.x, series.y, errors, strict=True):
            axes.update_datalim([(x, y - error), (x, y + error)])  # moved ones don't count
        for x, y, text in zip(series.x, series.y, series.labels, strict=False):
            axes.annotate(text, (x, y), (3 + aside, 3), textcoords="offset points", fontsize=6.5)
    if plot.log_x:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))  # no powers of ten
        axes.xaxis.set_minor_formatter(NullFormatter())
    if plot.whole_x:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.08, y=0.12)
    axes.autoscale()
    _tidy(axes, plot.x_label, plot.y_label)


def dot_figure(label: str, rows: Sequence[tuple[str, float, float | None]]) -> Figure:
    """A named value with its deviation in each line, the first on top, at a column's width."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(SMALL):
        figure = Figure(figsize=(COLUMN, 0.6 + 0.27 * len(rows)), layout="constrained")
        axes = figure.subplots()
        for place, (_, value, deviation) in enumerate(rows):
            axes.errorbar(
                [value],
                [place],
                xerr=deviation,
                color=COLOURS[2],
                marker=MARKERS[0],
                markersize=4.5,
                capsize=2,
                elinewidth=0.8,
            )
        axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.margins(x=0.1)
        _tidy(axes, label, "")
        figure.draw_without_rendering()
    return figure


def _tidy(axes: Axes, x_label: str, y_label: str) -> None:
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(color="#DDDDDD", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def as_png(figure: Figure) -> bytes:
    """The figure as PNG, at 300 dpi."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=300, metadata={"Software": None})
    return content.getvalue()
