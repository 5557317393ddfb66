"""Figures of one column's width, in the style of training figures, without overlapping labels."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from recbole_tinynews.pipeline.training_figure import COLOURS, DASHES, MARKERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

COLUMN = 3.35  # inches: one column of a two-column paper
TWO_IN_A_ROW = 20  # longest names for two columns in a legend
CATEGORY = 0.7  # share of the distance between categories that points side by side take
_LABEL = 6.0  # font size of labels in points, the unit of the lengths below
_DIGIT_WIDTH, _DIGIT_HEIGHT = 0.62 * _LABEL, 0.75 * _LABEL
_MARKER, _GAP = 2.5, 1.2  # half a marker's size, and the distance to its label
SMALL: dict[Any, Any] = {  # readable at that width
    "font.size": 8,
    "axes.linewidth": 0.6,
    "pdf.fonttype": 42,  # embeds text as text
}


class Point(NamedTuple):
    """A value, its interval from ``low`` to ``high``, and a label."""

    x: float
    y: float
    low: float
    high: float
    label: str = ""


class Series(NamedTuple):
    """Points of one kind, joined by a line if each is the mean of several runs."""

    name: str
    points: Sequence[Point]
    line: bool = False


class Plot(NamedTuple):
    """Content of one pair of axes; with ``categories``, x is an index into them."""

    x_label: str
    y_label: str
    series: Sequence[Series]
    log_x: bool = False
    whole_x: bool = False  # ticks at whole numbers only
    categories: Sequence[str] = ()


def column_figure(plots: Sequence[Plot]) -> Figure:
    """Stacked plots of one column's width, with a common legend below."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(SMALL):
        names = list(dict.fromkeys(series.name for plot in plots for series in plot.series))
        columns = 2 if max(map(len, names)) <= TWO_IN_A_ROW else 1
        legend = 0.17 * -(-len(names) // columns) if len(names) > 1 else 0
        height = 2.3 * len(plots) + 0.2 + legend
        figure = Figure(figsize=(COLUMN, height), layout="constrained")
        column = figure.subplots(len(plots), 1, squeeze=False)[:, 0]
        for axes, plot in zip(column, plots, strict=True):
            _draw_plot(axes, plot, names)
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
        figure.draw_without_rendering()  # while SMALL applies; fixes the positions of points
        for axes, plot in zip(column, plots, strict=True):
            _label_points(axes, plot.series, names)
    return figure


def place_labels(places: Sequence[Any], texts: Sequence[str]) -> list[Bbox]:
    """A box in points for each text: the first free one beside its point, or the least covered."""
    from matplotlib.transforms import Bbox

    taken = [Bbox([[x - _MARKER, y - _MARKER], [x + _MARKER, y + _MARKER]]) for x, y in places]
    found = []
    for (x, y), text in zip(places, texts, strict=True):
        boxes = [Bbox.from_bounds(*each) for each in _beside(x, y, _DIGIT_WIDTH * len(text))]
        found.append(min(boxes, key=lambda box: sum(_overlap(box, each) for each in taken)))
        taken.append(found[-1])
    return found


def _label_points(axes: Axes, series: Sequence[Series], names: Sequence[str]) -> None:
    """Write labels beside their points; the axes must have been drawn once."""
    from matplotlib.patheffects import withStroke

    shown = [(each.name, point) for each in series for point in each.points if point.label]
    places = [axes.transData.transform((p.x, p.y)) * 72 / axes.figure.dpi for _, p in shown]
    boxes = place_labels(places, [point.label for _, point in shown])
    for (name, point), place, box in zip(shown, places, boxes, strict=True):
        text = axes.annotate(
            point.label,
            (point.x, point.y),
            (box.x0 - place[0], box.y0 - place[1]),
            textcoords="offset points",
            fontsize=_LABEL,
            color=COLOURS[names.index(name) % len(COLOURS)],
            path_effects=[withStroke(linewidth=1.2, foreground="white")],  # over lines
        )
        text.set_in_layout(False)  # label positions depend on the finished layout


def _overlap(one: Bbox, other: Bbox) -> float:
    common = one.intersection(one, other)
    return 0.0 if common is None else common.width * common.height


def _beside(x: float, y: float, width: float) -> Iterator[tuple[float, float, float, float]]:
    """Left, bottom, width, height of label positions, nearest first, none on an error bar."""
    for step in range(3):
        right = x + _MARKER + _GAP + step * (width + _GAP)
        left = x - _MARKER - _GAP - width - step * (width + _GAP)
        for up in (0.5, 0.1, 0.9):
            bottom = y - up * _DIGIT_HEIGHT
            yield right, bottom, width, _DIGIT_HEIGHT
            yield left, bottom, width, _DIGIT_HEIGHT


def _draw_plot(axes: Axes, plot: Plot, names: Sequence[str]) -> None:
    for series in plot.series:
        place = names.index(series.name)
        aside = CATEGORY * ((place + 0.5) / len(names) - 0.5) if plot.categories else 0.0
        points = series.points
        axes.errorbar(
            [each.x + aside for each in points],
            [each.y for each in points],
            yerr=np.transpose([(each.y - each.low, each.high - each.y) for each in points]),
            label=series.name,
            color=COLOURS[place % len(COLOURS)],
            linestyle=DASHES[place % len(DASHES)] if series.line else "none",
            marker=MARKERS[place % len(MARKERS)],
            markersize=5,
            markeredgecolor="white",
            markeredgewidth=0.5,
            linewidth=1.0,
            # bars at the same x stay visible behind each other
            elinewidth=0.7 + 0.2 * (len(names) - 1 - place),
            capsize=1.5 + 0.6 * (len(names) - 1 - place),
        )
    _set_x_axis(axes, plot)
    axes.margins(x=0.08, y=0.08)
    axes.autoscale()
    tidy(axes, plot.x_label, plot.y_label)


def _set_x_axis(axes: Axes, plot: Plot) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

    if plot.categories:
        axes.set_xticks(range(len(plot.categories)), plot.categories)
    if plot.log_x:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))  # no powers of ten
        axes.xaxis.set_minor_formatter(NullFormatter())
    if plot.whole_x:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def dot_figure(label: str, rows: Sequence[tuple[str, Point]]) -> Figure:
    """One named value (``x``) with its interval per line, the first on top."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(SMALL):
        figure = Figure(figsize=(COLUMN, 0.75 + 0.27 * len(rows)), layout="constrained")
        axes = figure.subplots()
        for place, (_, point) in enumerate(rows):
            axes.errorbar(
                [point.x],
                [place],
                xerr=[[point.x - point.low], [point.high - point.x]],
                color=COLOURS[2],
                marker=MARKERS[0],
                markersize=4.5,
                capsize=2,
                elinewidth=0.8,
            )
        axes.set_yticks(range(len(rows)), [name for name, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.margins(x=0.1)
        tidy(axes, label, "")
        axes.xaxis.label.set(horizontalalignment="right", x=1.0)  # long names leave little space
        figure.draw_without_rendering()
    return figure


def tidy(axes: Axes, x_label: str, y_label: str) -> None:
    """Set the labels, a light grid behind the points, and no frame at the top and right."""
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(color="#DDDDDD", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def saved(figure: Figure, kind: str) -> bytes:
    """The figure as ``png``, at 300 dpi, or ``pdf``; byte-identical for equal figures."""
    import matplotlib

    content = io.BytesIO()
    metadata = {"png": {"Software": None}, "pdf": {"CreationDate": None}}[kind]
    with matplotlib.rc_context(SMALL):
        figure.savefig(content, format=kind, dpi=300, metadata=metadata)
    return content.getvalue()
