"""The figure of a training run, drawn through matplotlib's objects: no window, no global state."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind readers tell apart, without the yellow that white
# paper swallows; dashes and markers serve a print in black and white.
COLOURS = ("#000000", "#E69F00", "#0072B2", "#009E73", "#D55E00", "#56B4E9", "#CC79A7")
DASHES = ("-", "--", "-.", (0, (5, 1)), ":")
MARKERS = ("o", "s", "^", "D", "v")
FEW = 40  # points that can still be told apart


class Panel(NamedTuple):
    """One of the plots above each other, which share the axis of steps.

    ``rows`` are its points: ``step``, and the values that were measured there by name.
    """

    label: str
    rows: Sequence[Mapping[str, float]]


def step_figure(title: str, panels: Iterable[Panel]) -> Figure:
    """The panels that have points, one above the other, over the optimizer steps."""
    from matplotlib.figure import Figure  # imported here: it takes half a second
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
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)  # hides no point


def as_svg(figure: Figure) -> str:
    """The figure as SVG, the same text for the same figure."""
    import matplotlib

    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "recbole_tinynews"}):  # else ids are random
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
