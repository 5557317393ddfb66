"""The trials of a study on disk, shared by several processes, and how one runs."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from logging import getLogger
from pathlib import Path

import numpy as np
import optuna
from optuna.exceptions import StorageInternalError
from optuna.pruners import BasePruner
from optuna.samplers import TPESampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from recbole_tinynews.config import NewsConfig
from recbole_tinynews.files.locks import LockHeldError, exclusive_lock
from recbole_tinynews.pipeline.run import GivenUpError
from recbole_tinynews.quick_start import prepared
from recbole_tinynews.search.space import Space

# attributes of a trial; TRAINED and REUSED are lists of stage names
REASON, SECONDS, TRAINED, REUSED = "reason", "seconds", "trained", "reused"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_CONTINUES = "continues"  # attribute of a repeated trial: the number of the interrupted one
_PATIENCE = 60.0  # seconds that sqlite waits for a lock
_TICK = 1.0  # seconds between checks of other processes' trials


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


class Trials:
    """The trials of one study in a ``folder`` shared by all processes, on a disk with locks.

    A process locks its trial; if it is killed, another one repeats it with the same values.
    ``storage``: optuna storage URL, or a journal file; None: sqlite in ``folder``.
    """

    def __init__(
        self,
        folder: Path,
        space: Space,
        pruner: BasePruner,
        seed: int,
        bigger: bool = True,
        storage: str | None = None,
    ) -> None:
        self.folder, self.space, self.seed = folder, space, seed
        with self._alone():  # two processes would create the same tables
            self.study = optuna.create_study(
                storage=_storage(storage, folder),
                study_name=folder.name,
                direction="maximize" if bigger else "minimize",
                pruner=pruner,
                load_if_exists=True,
            )

    @contextmanager
    def claim(self, wanted: int, tell: Callable[[str], None]) -> Iterator[Trial | None]:
        """The next trial, locked, after waiting for others; None once ``wanted`` have ended."""
        with ExitStack() as held:
            yield self._next(wanted, tell, held)

    def ended(self) -> list[FrozenTrial]:
        """Complete, pruned and failed trials, without interrupted ones."""
        trials = self.study.get_trials(deepcopy=False)
        continued = {each.user_attrs.get(_CONTINUES) for each in trials}
        finished = [each for each in trials if each.state.is_finished()]
        return [e for e in finished if e.number not in continued and not _interrupted(e)]

    def put_back(self, number: int) -> None:
        """Replace a running trial by a waiting one with the same values."""
        trial = self.study.get_trials(deepcopy=False)[number]
        self.study.tell(number, state=TrialState.FAIL)
        self.study.enqueue_trial(trial.params, user_attrs={_CONTINUES: number})

    def _next(self, wanted: int, tell: Callable[[str], None], held: ExitStack) -> Trial | None:
        announced = False
        while True:
            with self._alone():
                self._requeue_killed()
                running = self._running()
                ended = len(self.ended())
                if ended + len(running) < wanted:
                    return self._ask(held)
            if ended >= wanted:
                return None
            if not announced:
                tell(f"waiting for trial {', '.join(map(str, running))} of another process")
                announced = True
            time.sleep(_TICK)

    def _ask(self, held: ExitStack) -> Trial:
        before = self.study.get_trials(deepcopy=False)
        # one seed per draw: processes with a common seed would draw the same values;
        # repeated trials draw none
        drawn = sum(_CONTINUES not in each.user_attrs for each in before)
        seed = np.random.SeedSequence([self.seed, drawn]).generate_state(1)[0]
        self.study.sampler = TPESampler(seed=int(seed))
        trial = self.study.ask(self.space)
        held.enter_context(self._lock_of(trial.number))
        if (continued := trial.user_attrs.get(_CONTINUES)) is not None:
            for step, value in before[continued].intermediate_values.items():
                trial.report(value, step)
        return trial

    def _requeue_killed(self) -> None:
        for number in self._running():
            with suppress(LockHeldError), self._lock_of(number, wait=False):
                if number in self._running():  # it may just have ended
                    self.put_back(number)

    def _running(self) -> list[int]:
        trials = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [trial.number for trial in trials]

    def _lock_of(self, number: int, wait: bool = True) -> AbstractContextManager[None]:
        return exclusive_lock(self.folder / f"trial-{number}", "running it", wait)

    def _alone(self) -> AbstractContextManager[None]:
        return exclusive_lock(self.folder / "trials", "choosing a trial")


def _storage(named: str | None, folder: Path) -> BaseStorage:
    if named is None:
        url = f"sqlite:///{folder.resolve() / 'study.db'}"
        return RDBStorage(url, engine_kwargs={"connect_args": {"timeout": _PATIENCE}})
    if "://" in named:
        try:
            return RDBStorage(named)
        except (SQLAlchemyError, StorageInternalError, ImportError) as problem:
            kind = named.partition("://")[0]  # the rest may have a password
            raise ValueError(
                f"storage expects a database that can be opened, got one of {kind}://: "
                f"{type(problem).__name__}. Check address, password and driver."
            ) from problem
    return JournalStorage(JournalFileBackend(named))


def _interrupted(trial: FrozenTrial) -> bool:
    return trial.state is TrialState.FAIL and REASON not in trial.user_attrs
