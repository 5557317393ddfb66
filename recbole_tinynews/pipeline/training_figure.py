"""Figure of a training run, drawn with matplotlib's objects: no window, no global state."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colour-blind safe palette without its yellow, which is invisible on white;
# dashes and markers are for black-and-white print
COLOURS = ("#000000", "#E69F00", "#0072B2", "#009E73", "#D55E00", "#56B4E9", "#CC79A7")
DASHES = ("-", "--", "-.", (0, (5, 1)), ":")
MARKERS = ("o", "s", "^", "D", "v")
FEW = 40  # points that get markers


class Panel(NamedTuple):
    """One of the plots that share the axis of steps; ``rows`` have ``step`` and values by name."""

    label: str
    rows: Sequence[Mapping[str, float]]


def step_figure(title: str, panels: Iterable[Panel]) -> Figure:
    """Nonempty panels, stacked over the optimizer steps."""
    from matplotlib.figure import Figure  # takes half a second
    from matplotlib.ticker import MaxNLocator

    shown = [panel for panel in panels if panel.rows]
    figure = Figure(figsize=(7.5, 0.6 + 2.7 * max(len(shown), 1)), layout="constrained")
    figure.suptitle(title)
    if shown:
        column = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
        for axes, panel in zip(column, shown, strict=True):
            _draw(axes, panel)
        column[-1].set_xlabel("optimizer steps")
        column[-1].xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    return figure


def _draw(axes: Axes, panel: Panel) -> None:
    names = dict.fromkeys(name for row in panel.rows for name in row if name != "step")
    for name, colour, dashes, marker in zip(
        names, cycle(COLOURS), cycle(DASHES), cycle(MARKERS), strict=False
    ):
        points = [(row["step"], row[name]) for row in panel.rows if name in row]
        axes.plot(
            *zip(*points, strict=True),
            label=name,
            color=colour,
            linestyle=dashes,
            marker=marker if len(points) <= FEW else None,
            markersize=3.5,
            linewidth=1.4,
        )
    axes.set_ylabel(panel.label)
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)  # beside the plot


def as_svg(figure: Figure) -> str:
    """The figure as reproducible SVG."""
    import matplotlib

    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "recbole_tinynews"}):  # fixes random ids
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
