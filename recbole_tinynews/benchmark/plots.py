"""Figures of a suite: quality against size and speed; effects of stages, losses, teachers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from recbole_tinynews.benchmark.figures import Plot, Series, column_figure, dot_figure
from recbole_tinynews.benchmark.means import SystemResult
from recbole_tinynews.benchmark.result_table import HEADS
from recbole_tinynews.benchmark.suite import ADDED, Suite

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_QUALITY = "auc"


def suite_figures(suite: Suite, systems: Sequence[SystemResult]) -> Iterator[tuple[str, Figure]]:
    """Yield each figure of the suite by name, except those without results."""
    for name, families in suite.figures.items():
        shown = [each for family in families for each in systems if each.row.family == family]
        if name in ("size", "speed"):
            shown += [each for each in systems if each.row.group == ADDED]
        shown = [each for each in shown if _QUALITY in each.means]
        figure = _KINDS[name](shown) if shown else None
        if figure is not None:
            yield name, figure


def _quality_against_size(systems: Sequence[SystemResult]) -> Figure | None:
    return _against(systems, "parameters", 1e-6, "parameters (millions)", log=False)


def _quality_against_speed(systems: Sequence[SystemResult]) -> Figure | None:
    return _against(systems, "news_per_second", 1, "news encoded per second", log=True)


def _against(
    systems: Sequence[SystemResult], column: str, unit: float, label: str, log: bool
) -> Figure | None:
    """A line for each family, with a point for each size."""
    measured = [each for each in systems if column in each.means]
    if not measured:
        return None
    best: dict[int | None, SystemResult] = {}  # of each size: the point that shows the layers
    for each in measured:
        best[each.row.layers] = max(each, best.get(each.row.layers, each), key=_quality)
    series = []
    for family, members in _families(measured):
        members.sort(key=lambda each: each.means[column].value)
        x = [unit * each.means[column].value for each in members]
        of_best = [str(each.row.layers or "") if each in best.values() else "" for each in members]
        series.append(_series(family, members, x)._replace(labels=of_best))
    x_label = f"{label}; at the points: layers"
    return column_figure([Plot(x_label, _label(_QUALITY), series, log_x=log)])


def _effect_of_stages(systems: Sequence[SystemResult]) -> Figure | None:
    """Compare the systems that have as many layers as the first; None if it is the only one."""
    same = [each for each in systems if each.row.layers == systems[0].row.layers]
    if len(same) < 2:
        return None
    rows = []
    for each in same:
        value, deviation = each.means[_QUALITY]
        rows.append((each.row.label, 100 * value, deviation and 100 * deviation))
    return dot_figure(_label(_QUALITY), rows)


def _effect_of_losses(systems: Sequence[SystemResult]) -> Figure | None:
    """A line for each removed loss, over the layers of the student."""
    series = []
    for family, members in _families(systems):
        members.sort(key=lambda each: each.row.layers or 0)
        series.append(_series(family, members, [each.row.layers or 0 for each in members]))
    return column_figure([Plot("layers of the student", _label(_QUALITY), series, whole_x=True)])


def _effect_of_teachers(systems: Sequence[SystemResult]) -> Figure | None:
    """AUC and nDCG@10 over the number of teachers."""
    members = sorted(systems, key=lambda each: each.row.settings["num_teachers"])
    counts = [each.row.settings["num_teachers"] for each in members]
    return column_figure(
        [
            Plot(
                "teachers M",
                _label(metric),
                [_series("Tiny-NewsRec", members, counts, metric)],
                whole_x=True,
            )
            for metric in (_QUALITY, "ndcg@10")
        ]
    )


# By the names of `suite.FIGURES`.
_KINDS: dict[str, Callable[[Sequence[SystemResult]], Figure | None]] = {
    "size": _quality_against_size,
    "speed": _quality_against_speed,
    "stages": _effect_of_stages,
    "losses": _effect_of_losses,
    "teachers": _effect_of_teachers,
}


def _families(systems: Sequence[SystemResult]) -> list[tuple[str, list[SystemResult]]]:
    families: dict[str, list[SystemResult]] = {}
    for each in systems:
        families.setdefault(each.row.family, []).append(each)
    return list(families.items())


def _series(
    name: str, systems: Sequence[SystemResult], x: Sequence[float], metric: str = _QUALITY
) -> Series:
    means = [each.means[metric] for each in systems]
    deviations = [100 * (mean.deviation or 0) for mean in means]
    errors = deviations if any(deviations) else []
    return Series(name, list(x), [100 * mean.value for mean in means], errors)


def _quality(system: SystemResult) -> float:
    return system.means[_QUALITY].value


def _label(metric: str) -> str:
    return f"{HEADS[metric]} (%)"
