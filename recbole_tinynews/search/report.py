"""The report of a search: a table of trials, two figures, the best settings."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna import Study
from optuna.importance import get_param_importances
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from recbole_tinynews.benchmark.figures import COLUMN, tidy
from recbole_tinynews.benchmark.results import as_csv
from recbole_tinynews.config import NewsConfig
from recbole_tinynews.files.whole import whole_file, write_text
from recbole_tinynews.pipeline.log_tables import text_table
from recbole_tinynews.pipeline.training_figure import COLOURS
from recbole_tinynews.registry import MODELS, find_model, recbole_models
from recbole_tinynews.search.study import REASON, REUSED, SECONDS, TRAINED
from recbole_tinynews.settings.literals import write_yaml

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TABLE, BEST, IMPORTANCE = "trials.csv", "best.yaml", "importance"
ENOUGH = 10  # complete trials needed to estimate importances
_FORMATS = ("png", "pdf")
_SHOWN = 60  # characters of a failure's reason in the printed table


def best_of(study: Study, ended: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """The complete trial with the best value, the first of equals; None without any."""
    complete = [each for each in ended if each.state is TrialState.COMPLETE]
    return min(complete, key=partial(_rank, study), default=None)


def how_it_ended(trial: FrozenTrial, metric: str) -> str:
    """Describe how a trial ended."""
    cells = _cells(trial, metric)
    value = f"{metric} {cells[metric]}" if cells[metric] else ""
    stages = [f"{kind} {cells[kind]}" for kind in (TRAINED, REUSED) if cells[kind]]
    began = ", ".join(part for part in (cells["state"], value, f"{cells[SECONDS]} s") if part)
    return "; ".join(part for part in (began, *stages, cells[REASON]) if part)


def in_words(params: Mapping[str, Any]) -> str:
    """Settings and their values in one line."""
    return " ".join(f"{name}={_shown(value)}" for name, value in params.items())


def trials_table(study: Study, ended: Sequence[FrozenTrial], metric: str) -> str:
    """Table of all trials for a terminal, best first; pruned and failed ones last."""
    if not ended:
        return "no trial has ended"
    rows = [_cells(each, metric) for each in sorted(ended, key=partial(_rank, study))]
    for row in rows:
        row[REASON] = row[REASON][:_SHOWN]
    columns = [name for name in rows[0] if name != REUSED and any(row[name] for row in rows)]
    return text_table([columns, *([row[name] for name in columns] for row in rows)])


def write_report(
    folder: Path, study: Study, ended: Sequence[FrozenTrial], metric: str
) -> list[str]:
    """Write table and figures, without importances of few trials; returns the file names."""
    rows = [_cells(each, metric, exact=True) for each in ended]
    written = [TABLE]
    write_text(folder / TABLE, as_csv(rows[0] if rows else ["trial"], rows))
    complete, pruned = (
        {e.number: e.value for e in ended if e.state is state and e.value is not None}
        for state in (TrialState.COMPLETE, TrialState.PRUNED)
    )
    figures = {}
    if complete:
        bigger = study.direction is StudyDirection.MAXIMIZE
        figures["history"] = history_figure(complete, pruned, metric, bigger)
    if len(complete) >= ENOUGH:
        figures[IMPORTANCE] = importance_figure(get_param_importances(study), metric)
    for name, figure in figures.items():
        for kind in _FORMATS:
            with whole_file(folder / f"{name}.{kind}") as place:
                figure.savefig(place, format=kind, dpi=300)
            written.append(f"{name}.{kind}")
    return written


def write_best(folder: Path, config: NewsConfig, best: FrozenTrial, metric: str) -> None:
    """Write a trial's settings for ``run_recbole.py --config_files``, which reuses its stages."""
    named = {"model": config["model"], "dataset": config["dataset"]}
    known = config["model"] in {*MODELS, *recbole_models()}
    if not known or find_model(config["model"]) is not config.model_class:
        del named["model"]
    given = {name: v for name, v in config.external_config_dict.items() if name != "show_progress"}
    head = f"# Trial {best.number} of a search: {metric} {best.value:.6f} on validation.\n"
    write_text(folder / BEST, head + write_yaml({**named, **given}))


def _rank(study: Study, trial: FrozenTrial) -> tuple[bool, float]:
    """Sort key: complete trials first, each kind from best to worst."""
    value = math.inf if trial.value is None else trial.value
    if study.direction is StudyDirection.MAXIMIZE and trial.value is not None:
        value = -value
    return trial.state is not TrialState.COMPLETE, value


def _cells(trial: FrozenTrial, metric: str, exact: bool = False) -> dict[str, str]:
    found = trial.user_attrs
    show = str if exact else _shown
    return {
        "trial": str(trial.number),
        "state": "failed" if REASON in found else trial.state.name.lower(),
        metric: "" if trial.value is None else f"{trial.value:.6f}",
        **{name: show(value) for name, value in sorted(trial.params.items())},
        SECONDS: str(found.get(SECONDS, "")),
        TRAINED: _counted(found.get(TRAINED, [])),
        REUSED: _counted(found.get(REUSED, [])),
        REASON: found.get(REASON, ""),
    }


def _counted(names: Sequence[str]) -> str:
    """Names of stages, with counts of repeated ones.

    >>> _counted(["post_train_teacher", "finetune_teacher", "finetune_teacher"])
    'post_train_teacher, finetune_teacher x2'
    """
    count = Counter(names)
    return ", ".join(name if n == 1 else f"{name} x{n}" for name, n in count.items())


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


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
