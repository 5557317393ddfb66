"""The figure of a suite: AUC against the number of parameters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_tinynews.benchmark.result_table import HEADS
from recbole_tinynews.benchmark.results import SystemResult
from recbole_tinynews.benchmark.suite import ADDED, Suite
from recbole_tinynews.files.whole import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("svg", "png")
# Okabe and Ito's colour-blind safe palette without its yellow, which is invisible on white;
# dashes and markers are for black-and-white print
COLOURS = ("#000000", "#E69F00", "#0072B2", "#009E73", "#D55E00", "#56B4E9", "#CC79A7")
DASHES = ("-", "--", "-.", (0, (5, 1)), ":")
MARKERS = ("o", "s", "^", "D", "v")
_COLUMN = 3.35  # inches: one column of a two-column paper
_TWO_IN_A_ROW = 20  # characters of the longest names for two columns in a legend
_STYLE: dict[Any, Any] = {"font.size": 8, "axes.linewidth": 0.6, "svg.hashsalt": "recbole_tinynews"}
_QUALITY, _SIZE = "auc", "parameters"


def size_figure(suite: Suite, systems: Sequence[SystemResult]) -> Figure | None:
    """One series per family of the suite's figure and added row, one point per size.

    Bars are standard deviations over seeds; points are labelled with their layers. None without
    results.
    """
    import matplotlib  # slow to import
    from matplotlib.figure import Figure

    families: dict[str, list[SystemResult]] = {name: [] for name in suite.figure}
    for system in systems:
        known = {_QUALITY, _SIZE} <= system.means.keys()
        if known and (system.row.family in suite.figure or system.row.group == ADDED):
            families.setdefault(system.row.family, []).append(system)
    families = {name: members for name, members in families.items() if members}
    if not families:
        return None
    with matplotlib.rc_context(_STYLE):
        size = _COLUMN, 2.7 + 0.2 * len(families)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        for number, (family, members) in enumerate(families.items()):
            members.sort(key=lambda system: system.means[_SIZE].value)
            sizes = [1e-6 * system.means[_SIZE].value for system in members]
            quality = [system.means[_QUALITY] for system in members]
            # a line through single runs would show their noise as a trend
            joined = all(len(system.cells) > 1 for system in members)
            colour = COLOURS[number % len(COLOURS)]
            axes.errorbar(
                sizes,
                [100 * mean.value for mean in quality],
                yerr=[100 * (mean.deviation or 0.0) for mean in quality],
                label=family,
                color=colour,
                linestyle=DASHES[number % len(DASHES)] if joined else "none",
                marker=MARKERS[number % len(MARKERS)],
                markersize=4.5,
                linewidth=1.0,
                capsize=2,
            )
            for system, x, mean in zip(members, sizes, quality, strict=True):
                text = f"{x:.0f}M" if system.row.layers is None else str(system.row.layers)
                offset: Any = {"xytext": (3, 3), "textcoords": "offset points"}
                axes.annotate(text, (x, 100 * mean.value), **offset, fontsize=6, color=colour)
        note = "parameters (millions); at the points: layers\nbars: standard deviation over seeds"
        axes.set(xlabel=note, ylabel=f"{HEADS[_QUALITY]} (%)")
        axes.margins(0.1)
        axes.grid(color="#DDDDDD", linewidth=0.5)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        if len(families) > 1:
            columns = 2 if max(map(len, families)) <= _TWO_IN_A_ROW else 1
            figure.legend(loc="outside lower center", ncols=columns, frameon=False)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write ``path`` in all ``FORMATS``, with the same bytes for equal figures."""
    import matplotlib

    for kind in FORMATS:
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        with (
            matplotlib.rc_context(_STYLE),
            whole_file(path.with_name(f"{path.name}.{kind}")) as file,
        ):
            figure.savefig(file, format=kind, dpi=300, metadata=metadata)
