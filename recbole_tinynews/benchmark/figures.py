"""Figures of a suite: AUC against size and speed; effects of stages, losses, teachers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from recbole_tinynews.benchmark.result_table import HEADS
from recbole_tinynews.benchmark.results import SystemResult
from recbole_tinynews.benchmark.significance import Intervals
from recbole_tinynews.benchmark.suite import ADDED, Suite
from recbole_tinynews.files.whole import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("svg", "png")
# Okabe and Ito's colour-blind safe palette without its yellow, which is invisible on white;
# dashes and markers are for black-and-white print
COLOURS = ("#000000", "#E69F00", "#0072B2", "#009E73", "#D55E00", "#56B4E9", "#CC79A7")
DASHES = ("-", "--", "-.", (0, (5, 1)), ":")
MARKERS = ("o", "s", "^", "D", "v")
_COLUMN = 3.35  # inches: one column of a two-column paper
_TWO_IN_A_ROW = 20  # characters of the longest names for two columns in a legend
_ASIDE = 0.14  # between points of one category, as a share of the distance to the next one
_STYLE: dict[Any, Any] = {"font.size": 8, "axes.linewidth": 0.6, "svg.hashsalt": "recbole_tinynews"}
_QUALITY, _SIZE, _SPEED = "auc", "parameters", "news_per_second"
Architecture = tuple[int | None, float | None]  # layers, parameters


def suite_figures(
    suite: Suite, systems: Sequence[SystemResult], intervals: Intervals
) -> Iterator[tuple[str, Figure]]:
    """Yield the name and figure of each of the suite's figures that has results."""
    import matplotlib  # slow to import

    for name, families in suite.figures.items():
        shown = [system for family in families for system in systems if system.row.family == family]
        if name in ("size", "speed"):
            shown += [system for system in systems if system.row.group == ADDED]
        shown = [system for system in shown if _QUALITY in system.means]
        with matplotlib.rc_context(_STYLE):
            figure = _KINDS[name](shown, intervals) if shown else None
        if figure is not None:
            yield name, figure


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


def _against_size(systems: Sequence[SystemResult], intervals: Intervals) -> Figure | None:
    sizes = {s.row.label: 1e-6 * s.means[_SIZE].value for s in systems if _SIZE in s.means}
    return _against(systems, intervals, sizes, "parameters (millions)")


def _against_speed(systems: Sequence[SystemResult], intervals: Intervals) -> Figure | None:
    """With the median speed of all rows with the same encoder, however it was trained."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    measured: dict[Architecture, list[float]] = {}
    for system in systems:
        if _SPEED in system.means:
            measured.setdefault(_architecture(system), []).append(system.means[_SPEED].value)
    kinds = {system.row.label: _architecture(system) for system in systems}
    speeds = {label: median(measured[kind]) for label, kind in kinds.items() if kind in measured}
    figure = _against(systems, intervals, speeds, "news encoded per second")
    if figure is not None:
        (axes,) = figure.axes
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))  # no powers of ten
        axes.xaxis.set_minor_formatter(NullFormatter())
    return figure


def _architecture(system: SystemResult) -> Architecture:
    size = system.means.get(_SIZE)
    return system.row.layers, size and size.value


def _against(
    systems: Sequence[SystemResult], intervals: Intervals, x: Mapping[str, float], label: str
) -> Figure | None:
    """One series per family, one point per size, labelled with its layers."""
    families = _families([system for system in systems if system.row.label in x])
    if not families:
        return None
    figure, (axes,) = _axes(1, len(families))
    for number, (family, members) in enumerate(families.items()):
        members.sort(key=lambda system: x[system.row.label])
        points = [x[system.row.label] for system in members]
        _draw(axes, number, family, points, members, intervals)
        for system, beside in zip(members, points, strict=True):
            above = 100 * system.means[_QUALITY].value
            text, colour = _size_of(system), COLOURS[number % len(COLOURS)]
            offset: Any = {"xytext": (3, 3), "textcoords": "offset points"}
            axes.annotate(text, (beside, above), **offset, fontsize=6, color=colour)
    _finish(axes, f"{label}; at the points: layers{_bars(intervals)}", _label(_QUALITY))
    return _with_legend(figure, families)


def _effect_of_stages(systems: Sequence[SystemResult], intervals: Intervals) -> Figure | None:
    """Systems with as many layers as the first; None if there is only one."""
    same = [system for system in systems if system.row.layers == systems[0].row.layers]
    if len(same) < 2:
        return None
    figure, (axes,) = _axes(1)
    figure.set_figheight(0.75 + 0.27 * len(same))
    values, reaches = _percent(same, intervals, _QUALITY)
    axes.errorbar(values, range(len(same)), xerr=reaches, fmt="o", color=COLOURS[2], capsize=2)
    axes.set_yticks(range(len(same)), [system.row.label for system in same])
    axes.invert_yaxis()
    _finish(axes, f"{_label(_QUALITY)}{_bars(intervals)}", "")
    axes.xaxis.label.set(horizontalalignment="right", x=1.0)  # long names leave little space
    return figure


def _effect_of_losses(systems: Sequence[SystemResult], intervals: Intervals) -> Figure:
    sizes = sorted({system.row.layers or 0 for system in systems})
    families = _families(systems)
    figure, (axes,) = _axes(1, len(families))
    for number, (family, members) in enumerate(families.items()):
        aside = _ASIDE * (number - (len(families) - 1) / 2)
        x = [sizes.index(system.row.layers or 0) + aside for system in members]
        _draw(axes, number, family, x, members, intervals, joined=False)
    axes.set_xticks(range(len(sizes)), [str(size) for size in sizes])
    _finish(axes, f"layers of the student{_bars(intervals)}", _label(_QUALITY))
    return _with_legend(figure, families)


def _effect_of_teachers(systems: Sequence[SystemResult], intervals: Intervals) -> Figure:
    counts = {system.row.label: system.row.settings["num_teachers"] for system in systems}
    members = sorted(systems, key=lambda system: counts[system.row.label])
    teachers = [counts[system.row.label] for system in members]
    figure, both = _axes(2)
    for axes, metric in zip(both, (_QUALITY, "ndcg@10"), strict=True):
        _draw(axes, 0, "Tiny-NewsRec", teachers, members, intervals, metric)
        axes.locator_params("x", integer=True)
        _finish(axes, "teachers M", _label(metric))
    both[-1].set_xlabel(f"teachers M{_bars(intervals)}")
    return figure


# Keys as in `suite.FIGURES`.
_KINDS: dict[str, Callable[[Sequence[SystemResult], Intervals], Figure | None]] = {
    "size": _against_size,
    "speed": _against_speed,
    "stages": _effect_of_stages,
    "losses": _effect_of_losses,
    "teachers": _effect_of_teachers,
}


def _axes(plots: int, names: int = 0) -> tuple[Figure, np.ndarray]:
    from matplotlib.figure import Figure

    size = _COLUMN, 2.4 * plots + 0.3 + 0.2 * names
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(plots, 1, squeeze=False)[:, 0]


def _draw(
    axes: Axes,
    number: int,
    name: str,
    x: Sequence[float],
    systems: Sequence[SystemResult],
    intervals: Intervals,
    metric: str = _QUALITY,
    joined: bool = True,
) -> None:
    """One series; a line joins means of several runs alone: single ones show noise as a trend."""
    values, reaches = _percent(systems, intervals, metric)
    several = all(len(system.cells) > 1 for system in systems)
    axes.errorbar(
        x,
        values,
        yerr=reaches,
        label=name,
        color=COLOURS[number % len(COLOURS)],
        linestyle=DASHES[number % len(DASHES)] if joined and several else "none",
        marker=MARKERS[number % len(MARKERS)],
        markersize=4.5,
        linewidth=1.0,
        capsize=2,
    )


def _percent(
    systems: Sequence[SystemResult], intervals: Intervals, metric: str
) -> tuple[list[float], np.ndarray]:
    """Means, and the reaches of their intervals below and above, ``[2, systems]``."""
    reaches = [intervals.reaches.get((s.row.label, metric), (0.0, 0.0)) for s in systems]
    return [100 * s.means[metric].value for s in systems], 100 * np.transpose(reaches)


def _finish(axes: Axes, x_label: str, y_label: str) -> None:
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.margins(0.1)
    axes.grid(color="#DDDDDD", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _with_legend(figure: Figure, names: Collection[str]) -> Figure:
    if len(names) > 1:
        columns = 2 if max(map(len, names)) <= _TWO_IN_A_ROW else 1
        figure.legend(loc="outside lower center", ncols=columns, frameon=False)
    return figure


def _families(systems: Sequence[SystemResult]) -> dict[str, list[SystemResult]]:
    families: dict[str, list[SystemResult]] = {}
    for system in systems:
        families.setdefault(system.row.family, []).append(system)
    return families


def _size_of(system: SystemResult) -> str:
    size = system.means.get(_SIZE)
    if system.row.layers is not None:
        return str(system.row.layers)
    return f"{size.value / 1e6:.0f}M" if size else ""


def _bars(intervals: Intervals) -> str:
    return f"\nbars: 95 % bootstrap over {intervals.over}" if intervals.reaches else ""


def _label(metric: str) -> str:
    return f"{HEADS[metric]} (%)"
