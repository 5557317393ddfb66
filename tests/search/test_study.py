"""Trials of a study that several processes work on: none is lost, none is run twice."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.pruners import NopPruner
from optuna.trial import TrialState

from recbole_tinynews.search import study
from recbole_tinynews.search.study import REASON, Trials

SPACE = {"temperature": FloatDistribution(0.5, 4.0)}


@pytest.fixture(params=["sqlite", "journal"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Open the study, as each process does."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = str(tmp_path / "journal.log") if request.param == "journal" else None

    def open_it(seed: int = 7, folder: str = "study") -> Trials:
        return Trials(tmp_path / folder, SPACE, NopPruner(), seed, storage=storage)

    return open_it


def nothing(line: str) -> None:
    raise AssertionError(f"nobody waits here: {line}")


def complete(trials: Trials, wanted: int, value: float = 0.5) -> dict[str, Any]:
    with trials.claim(wanted, nothing) as trial:
        assert trial is not None
        trials.study.tell(trial, value)
        return trial.params


def test_two_processes_draw_different_values_from_one_seed(opened: Any) -> None:
    """Each with a sampler of the same seed would draw the same values: half of the work twice."""
    one, other = opened(), opened()
    with one.claim(2, nothing) as first, other.claim(2, nothing) as second:
        assert (first.number, second.number) == (0, 1)
        assert first.params != second.params


def test_a_seed_draws_the_same_values_again(opened: Any) -> None:
    one, other, unlike = opened(folder="one"), opened(folder="two"), opened(8, "three")
    drawn = [[complete(each, 3) for _ in range(3)] for each in (one, other, unlike)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("killed_before", [0, 1, 2])
def test_a_killed_search_draws_the_values_of_one_that_was_not(
    opened: Any, killed_before: int
) -> None:
    """The same command and seed would find other best settings after a power failure."""
    whole, killed = opened(folder="whole"), opened(folder="killed")
    expected = [complete(whole, 4) for _ in range(4)]
    found = [complete(killed, 4) for _ in range(killed_before)]
    for _ in range(2):  # the trial that continues it is killed as well
        with killed.claim(4, nothing) as trial:
            killed.put_back(trial.number)
    found += [complete(killed, 4) for _ in range(4 - killed_before)]
    assert found == expected


def test_no_more_trials_end_than_were_asked_for(opened: Any) -> None:
    """Two processes that count, then begin, would both begin the last one."""
    trials = opened()
    complete(trials, 3)
    with trials.claim(3, nothing) as trial:
        trial.report(0.1, 0)
        trials.study.tell(trial, state=TrialState.PRUNED)
    with trials.claim(3, nothing) as trial:
        trial.set_user_attr(REASON, "no memory")
        trials.study.tell(trial, state=TrialState.FAIL)
    with trials.claim(3, nothing) as trial:
        assert trial is None
    assert len(trials.ended()) == 3


def test_a_killed_trial_is_run_again_with_its_values_and_validations(opened: Any) -> None:
    """Kept as running, it would be waited for; dropped, its trained steps would be lost."""
    killed = opened()
    trial = killed.study.ask(SPACE)  # nobody holds its lock
    trial.report(0.6, 0)
    trials = opened()
    with trials.claim(1, nothing) as again:
        assert again.params == trial.params
        assert trials.study.trials[again.number].intermediate_values == {0: 0.6}
        trials.study.tell(again, 0.7)
    assert [each.value for each in trials.ended()] == [0.7]


def test_a_trial_killed_after_its_reason_was_noted_counts_once(opened: Any) -> None:
    """It is run again, so that one of the trials asked for would be missing."""
    killed = opened()
    killed.study.ask(SPACE).set_user_attr(REASON, "no memory")
    trials = opened()
    complete(trials, 2)
    complete(trials, 2)
    assert [each.value for each in trials.ended()] == [0.5, 0.5]


def test_a_trial_that_ends_while_it_is_looked_at_is_not_run_again(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lock is free a moment after it was seen running, as that of a killed one is."""
    one, other = opened(), opened()
    held = ExitStack()
    trial = held.enter_context(one.claim(1, nothing))
    plain = study.exclusive_lock

    def ends_first(place: Path, *arguments: Any, **named: Any) -> Any:
        if place.name == f"trial-{trial.number}" and not one.ended():
            one.study.tell(trial, 0.5)
            held.close()
        return plain(place, *arguments, **named)

    monkeypatch.setattr(study, "exclusive_lock", ends_first)
    with other.claim(1, nothing) as none:
        assert none is None
    assert [each.value for each in other.study.trials] == [0.5]


def test_a_trial_that_another_process_runs_is_left_alone(opened: Any) -> None:
    one, other = opened(), opened()
    with one.claim(3, nothing) as first:
        assert complete(other, 3) != first.params
        assert one.study.trials[first.number].state is TrialState.RUNNING


def test_the_last_trial_of_another_process_is_waited_for(opened: Any) -> None:
    """It may be killed, and the report of a process that has left would lack it."""
    one, other = opened(), opened()
    lines: list[str] = []
    claimed: list[Any] = []

    def wait() -> None:
        with other.claim(1, lines.append) as trial:
            claimed.append(trial)

    with one.claim(1, nothing) as trial:
        waiting = threading.Thread(target=wait)
        waiting.start()
        while not lines and waiting.is_alive():
            waiting.join(0.01)
        one.study.tell(trial, 0.5)
    waiting.join(30)
    assert claimed == [None]
    assert lines == ["waiting for trial 0 of another process"]
