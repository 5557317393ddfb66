"""One trial: a run that is validated, not tested, and may be pruned."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from functools import partial
from logging import getLogger

from optuna.trial import Trial, TrialState

from recbole_tinynews.config import NewsConfig
from recbole_tinynews.pipeline.run import GivenUpError
from recbole_tinynews.quick_start import prepared

# attributes of a trial; TRAINED and REUSED are lists of stage names
REASON, SECONDS, TRAINED, REUSED = "reason", "seconds", "trained", "reused"
_FULL = (errno.ENOSPC, errno.EDQUOT)


def run_trial(
    trial: Trial, make_config: Callable[[], NewsConfig], metric: str
) -> tuple[TrialState, float | None]:
    """Train and validate, noting time, stages and failure; ``OSError`` for a full disk."""
    started = time.perf_counter()
    state, reason = TrialState.PRUNED, ""
    value: float | None = None
    try:
        value = _best_validation(trial, make_config(), metric)
        state = TrialState.COMPLETE
    except GivenUpError:
        pass
    except ValueError as mistake:  # pruned, because optuna learns nothing from failures
        reason = " ".join(str(mistake).split())
    except Exception as problem:
        if isinstance(problem, OSError) and problem.errno in _FULL:
            raise
        getLogger().exception(f"Trial {trial.number} failed")
        state, reason = TrialState.FAIL, " ".join(repr(problem).split())
    trial.set_user_attr(SECONDS, round(time.perf_counter() - started, 1))
    if reason:
        trial.set_user_attr(REASON, reason)
    return state, value


def _best_validation(trial: Trial, config: NewsConfig, metric: str) -> float:
    with prepared(config) as (this_run, stages):
        this_run.callbacks[stages[-1]] = partial(_validated, trial)
        try:
            valid = this_run.make(*stages).valid
        finally:
            for name, reused in ((TRAINED, False), (REUSED, True)):
                stages_so = [e.name for e in this_run.artifacts.values() if e.reused is reused]
                trial.set_user_attr(name, stages_so)
    if metric not in valid:
        raise ValueError(f"A trial expects a validation with {metric}, got none.")
    return float(valid[metric])


def _validated(trial: Trial, number: int, score: float) -> None:
    """Report a validation to optuna; RecBole's ``callback_fn``."""
    reported = trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values
    if number not in reported:  # a resumed trial may repeat its last validation
        trial.report(score, number)
    if trial.should_prune():
        raise GivenUpError
