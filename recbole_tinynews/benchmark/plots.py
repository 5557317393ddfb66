"""Figures of a suite: AUC against size and speed; effects of stages, losses, teachers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING

from recbole_tinynews.benchmark.figures import Plot, Point, Series, column_figure, dot_figure
from recbole_tinynews.benchmark.result_table import HEADS
from recbole_tinynews.benchmark.results import Intervals, Reach, SystemResult
from recbole_tinynews.benchmark.suite import ADDED, Suite

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_QUALITY = "auc"
_SIZE, _SPEED = "parameters", "news_per_second"
Architecture = tuple[int | None, float | None]  # layers, parameters


def suite_figures(
    suite: Suite, systems: Sequence[SystemResult], intervals: Intervals
) -> Iterator[tuple[str, Figure]]:
    """Yield the name and figure of each of the suite's figures that has results."""
    for name, families in suite.figures.items():
        shown = [each for family in families for each in systems if each.row.family == family]
        if name in ("size", "speed"):
            shown += [each for each in systems if each.row.group == ADDED]
        shown = [each for each in shown if _QUALITY in each.means]
        figure = _KINDS[name](shown, intervals) if shown else None
        if figure is not None:
            yield name, figure


def _quality_against_size(systems: Sequence[SystemResult], intervals: Intervals) -> Figure | None:
    sizes = {e.row.label: 1e-6 * e.means[_SIZE].value for e in systems if _SIZE in e.means}
    return _against(systems, sizes, intervals, "parameters (millions)", log=False)


def _quality_against_speed(systems: Sequence[SystemResult], intervals: Intervals) -> Figure | None:
    speeds = speed_of_architectures(systems)
    kinds = {each.row.label: _architecture(each) for each in systems}
    of_systems = {label: speeds[kind] for label, kind in kinds.items() if kind in speeds}
    return _against(systems, of_systems, intervals, "news encoded per second", log=True)


def speed_of_architectures(systems: Sequence[SystemResult]) -> dict[Architecture, float]:
    """Median speed of all rows with the same encoder, however it was trained."""
    measured: dict[Architecture, list[float]] = {}
    for each in systems:
        if _SPEED in each.means:
            measured.setdefault(_architecture(each), []).append(each.means[_SPEED].value)
    return {architecture: median(values) for architecture, values in measured.items()}


def _architecture(system: SystemResult) -> Architecture:
    size = system.means.get(_SIZE)
    return system.row.layers, size and size.value


def _against(
    systems: Sequence[SystemResult],
    x: Mapping[str, float],
    intervals: Intervals,
    label: str,
    log: bool,
) -> Figure | None:
    """One series per family, one point per size."""
    measured = [each for each in systems if each.row.label in x]
    if not measured:
        return None
    series = []
    for family, members in _families(measured):
        members.sort(key=lambda each: x[each.row.label])
        points = [
            _point(x[each.row.label], each, intervals)._replace(label=_size_of(each))
            for each in members
        ]
        series.append(Series(family, points, _of_several_runs(members)))
    x_label = f"{label}; at the points: layers{_bars(intervals)}"
    return column_figure([Plot(x_label, _label(_QUALITY), series, log_x=log)])


def _effect_of_stages(systems: Sequence[SystemResult], intervals: Intervals) -> Figure | None:
    """Systems with as many layers as the first; None if there is only one."""
    same = [each for each in systems if each.row.layers == systems[0].row.layers]
    if len(same) < 2:
        return None
    points = [(each.row.label, _point(0, each, intervals)) for each in same]
    rows = [(label, point._replace(x=point.y)) for label, point in points]
    return dot_figure(f"{_label(_QUALITY)}{_bars(intervals)}", rows)


def _effect_of_losses(systems: Sequence[SystemResult], intervals: Intervals) -> Figure | None:
    sizes = sorted({each.row.layers or 0 for each in systems})
    series = [
        Series(
            family,
            [_point(sizes.index(each.row.layers or 0), each, intervals) for each in members],
        )
        for family, members in _families(systems)
    ]
    x_label = f"layers of the student{_bars(intervals)}"
    names = [str(size) for size in sizes]
    return column_figure([Plot(x_label, _label(_QUALITY), series, categories=names)])


def _effect_of_teachers(systems: Sequence[SystemResult], intervals: Intervals) -> Figure | None:
    members, plots = sorted(systems, key=_teachers), []
    for metric, note in ((_QUALITY, ""), ("ndcg@10", _bars(intervals))):
        points = [_point(_teachers(each), each, intervals, metric) for each in members]
        series = Series("Tiny-NewsRec", points, _of_several_runs(members))
        plots.append(Plot(f"teachers M{note}", _label(metric), [series], whole_x=True))
    return column_figure(plots)


# Keys as in `suite.FIGURES`.
_KINDS: dict[str, Callable[[Sequence[SystemResult], Intervals], Figure | None]] = {
    "size": _quality_against_size,
    "speed": _quality_against_speed,
    "stages": _effect_of_stages,
    "losses": _effect_of_losses,
    "teachers": _effect_of_teachers,
}
CAPTIONS = {
    "size": "AUC of each system against its number of parameters.",
    "speed": "AUC of each system against the articles that its encoder reads in a second.",
    "stages": "AUC with both stages of Tiny-NewsRec, without one of them, and without teachers.",
    "losses": "AUC of the student with all losses, and without each one.",
    "teachers": "AUC and nDCG@10 of the student over its number of teachers.",
}


def _families(systems: Sequence[SystemResult]) -> list[tuple[str, list[SystemResult]]]:
    families: dict[str, list[SystemResult]] = {}
    for each in systems:
        families.setdefault(each.row.family, []).append(each)
    return list(families.items())


def _point(x: float, system: SystemResult, intervals: Intervals, metric: str = _QUALITY) -> Point:
    below, above = intervals.of(system.row.label, metric) or Reach(0.0, 0.0)
    value = system.means[metric].value
    return Point(x, 100 * value, 100 * (value - below), 100 * (value + above))


def _of_several_runs(systems: Sequence[SystemResult]) -> bool:
    """Whether to join the points by a line: through single runs it would show noise as a trend."""
    return all(len(each.cells) > 1 for each in systems)


def _size_of(system: SystemResult) -> str:
    size = system.means.get(_SIZE)
    if system.row.layers is not None:
        return str(system.row.layers)
    return f"{size.value / 1e6:.0f}M" if size else ""


def _teachers(system: SystemResult) -> int:
    return system.row.settings["num_teachers"]


def _bars(intervals: Intervals) -> str:
    return f"\nbars: 95 % bootstrap over {intervals.over}" if intervals.reaches else ""


def _label(metric: str) -> str:
    return f"{HEADS[metric]} (%)"
