"""A search from its settings to its report: every trial is a run that is validated, not tested."""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from logging import getLogger
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.distributions import distribution_to_json
from optuna.pruners import BasePruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.trial import FrozenTrial, Trial, TrialState

from recbole_tinynews.benchmark.row_settings import FileContents
from recbole_tinynews.config import NewsConfig
from recbole_tinynews.files.array_cache import content_key
from recbole_tinynews.files.whole import write_text
from recbole_tinynews.pipeline.artifact import Artifact, source_of
from recbole_tinynews.pipeline.run import GivenUpError
from recbole_tinynews.pipeline.stage import Stage
from recbole_tinynews.processes.group import asked_for
from recbole_tinynews.quick_start import prepared, run
from recbole_tinynews.search.report import (
    REUSED,
    SECONDS,
    TRAINED,
    best_of,
    in_words,
    outcome,
    trials_table,
    write_report,
)
from recbole_tinynews.search.space import make_space, read_space
from recbole_tinynews.search.study import REASON, Trials
from recbole_tinynews.settings.command_line import parse_command_line
from recbole_tinynews.settings.declared import Affects, setting
from recbole_tinynews.settings.names import split_stage

BEST = "best.yaml"
SEARCH = "search"  # folder beside the stages
# what one run writes, and what would train again what trials share
_OF_ONE_RUN = ("fresh", "result_file", "eval_dump", "submission")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_HOPELESS = 10  # trials that fail before the search gives up

PRUNERS: dict[str, Callable[[int], BasePruner]] = {
    "median": lambda trials: MedianPruner(n_startup_trials=trials),
    "halving": lambda _: SuccessiveHalvingPruner(),
    "none": lambda _: NopPruner(),
}


class SearchStoppedError(KeyboardInterrupt):
    """Ctrl-C during a search; its text says what is kept."""


class Search:
    """Trials of a model's settings, of which the best by ``valid_metric`` is looked for.

    All trials have one ``checkpoint_dir``, so a stage that two of them share is trained once. A
    search with the same settings, space and data resumes, and several processes may run it at once.

    Args:
        model: a name, or a class of your own.
        dataset: name of the data set.
        space: a yaml file, or what it would hold (``make_space``).
        trials: number of trials in all, also those of earlier calls and other processes.
        config_file_list: yaml files, under what the space sets.
        config_dict: settings over those, under what the space sets.
        command_line: ``--key=value`` strings for all trials.
        pruner: one of ``PRUNERS``.
        startup_trials: complete trials before the median prunes any.
        storage: an address that optuna knows, or a journal file; None: sqlite in ``folder``.

    Attributes:
        folder: study, table, figures and best settings, beside the stages.

    Raises:
        ValueError: settings or space that don't fit, or no validation.
    """

    def __init__(
        self,
        model: str | type | None = None,
        dataset: str | None = None,
        space: str | Path | Mapping[str, Any] = "space.yaml",
        trials: int = 50,
        config_file_list: Sequence[str | Path] | None = None,
        config_dict: Mapping[str, Any] | None = None,
        command_line: Sequence[str] = (),
        pruner: str = "median",
        startup_trials: int = 5,
        storage: str | None = None,
    ) -> None:
        self.model, self.dataset, self.wanted = model, dataset, trials
        self.files, self.settings, self.command_line = config_file_list, config_dict, command_line
        config = self.config()
        fixed = parse_command_line(command_line).values
        if isinstance(space, Mapping):
            self.space = make_space(space, config, fixed)
        else:
            self.space = read_space(space, config, fixed)
        _check(config)
        _check_search(trials, pruner, startup_trials)
        last = config.for_stage(config["stage"]) if config["stage"] else config
        self.metric = str(last["valid_metric"]).lower()
        self.folder = self._folder(config)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.trials = Trials(
            self.folder, self.space, PRUNERS[pruner](startup_trials), config["seed"], storage
        )

    def config(self, params: Mapping[str, Any] | None = None) -> NewsConfig:
        """The settings of a trial; without values of its own, those of all trials."""
        values = {"show_progress": False, **(self.settings or {}), **(params or {})}
        return NewsConfig(self.model, self.dataset, self.files, values, self.command_line)

    def run(self, tell: Callable[[str], None] = print) -> FrozenTrial | None:
        """Run trials until all have ended, and write the report; returns the best one, if any.

        Args:
            tell: takes each line that a user should see.

        Raises:
            ValueError: none of the first trials could be trained.
            SearchStoppedError: Ctrl-C; the trial that was running is put back.
            OSError: a full disk, for instance; likewise.
        """
        tell(f"{len(self.trials.ended())} of {self.wanted} trials are there, in {self.folder}")
        try:
            while self._one(tell):
                self._check_hope()
        except KeyboardInterrupt as stop:
            ended = len(self.trials.ended())
            kept = f"kept in {self.folder}: {ended} of {self.wanted} trials"
            of_last = f"; of the one that ran, {stop}" if str(stop) else ""
            raise SearchStoppedError(kept + of_last) from stop
        return self.report(tell)

    def report(self, tell: Callable[[str], None] = print) -> FrozenTrial | None:
        """Write table, figures and best settings of the trials that have ended."""
        ended = self.trials.ended()
        tell(trials_table(ended, self.metric))
        best = best_of(ended)
        written = write_report(self.folder, self.trials.study, ended, self.metric)
        if best is not None:
            write_text(self.folder / BEST, self._best_settings(best, len(ended)))
            written.append(BEST)
        tell(f"written   {', '.join(written)} in {self.folder}")
        return best

    def test(self, trial: FrozenTrial) -> dict[str, Any]:
        """The result of ``quick_start.run`` with a trial's settings, test metrics among it."""
        values = {"show_progress": False, **(self.settings or {}), **trial.params}
        return run(self.model, self.dataset, self.files, values, self.command_line)

    def _one(self, tell: Callable[[str], None]) -> bool:
        """Run the next trial; False: there is none left."""
        with self.trials.claim(self.wanted, tell) as trial:
            if trial is None:
                return False
            tell(f"trial {trial.number}: {in_words(trial.params)}")
            started = time.perf_counter()
            try:
                state, value, reason = self._result(trial)
            except BaseException:  # Ctrl-C, a full disk
                self.trials.put_back(trial.number)
                raise
            trial.set_user_attr(SECONDS, round(time.perf_counter() - started, 1))
            if reason:
                trial.set_user_attr(REASON, reason)
            ended = self.trials.study.tell(trial, value, state)
            tell(f"trial {trial.number}: {outcome(ended, self.metric)}")
        return True

    def _result(self, trial: Trial) -> tuple[TrialState, float | None, str]:
        """State, value and the reason of a failure."""
        try:
            return TrialState.COMPLETE, self._trained(trial), ""
        except GivenUpError:
            return TrialState.PRUNED, None, ""
        except ValueError as mistake:  # of the trial's values: what draws them shall avoid these
            return TrialState.PRUNED, None, " ".join(str(mistake).split())
        except Exception as problem:
            if isinstance(problem, OSError) and problem.errno in _FULL:
                raise  # every other trial would fail too
            getLogger().exception(f"Trial {trial.number} failed")
            return TrialState.FAIL, None, " ".join(repr(problem).split())

    def _trained(self, trial: Trial) -> float:
        """The best validation of a trial, which is pruned or trained to its end."""
        with prepared(self.config(trial.params)) as (this_run, stages):
            this_run.callbacks[stages[-1]] = partial(_validated, trial)
            try:
                valid = this_run.make(*stages).valid
            finally:
                _note_stages(trial, this_run.artifacts.values())
        if self.metric not in valid:
            raise ValueError(f"A trial expects a validation with {self.metric}, got none")
        return float(valid[self.metric])

    def _check_hope(self) -> None:
        ended = self.trials.ended()
        if len(ended) >= _HOPELESS and all(REASON in each.user_attrs for each in ended):
            raise ValueError(
                f"A search expects trials that can be trained, and all of the first {len(ended)} "
                f"failed, the last one so: {ended[-1].user_attrs[REASON]} Correct settings or "
                f"space; where these stay as they are, delete {self.folder} before the next start."
            )

    def _folder(self, config: NewsConfig) -> Path:
        """A folder for these settings, space and data: the values of others are not comparable."""
        model_class = config.model_class
        settings = {
            name: value
            for name, value in config.final_config_dict.items()
            if name not in self.space
            and setting(split_stage(name, config.stage_names)[1]).affects is not Affects.NOTHING
        }
        described = {
            "model": f"{model_class.__module__}.{model_class.__qualname__}",
            "stage": config["stage"],
            "settings": settings,
            "space": {name: distribution_to_json(each) for name, each in self.space.items()},
        }
        contents = FileContents(config)
        key = content_key(
            [
                json.dumps(described, sort_keys=True, default=str),
                contents.data_content(model_class, config),
                contents.language_model_content(config),
                *source_of(Stage(model_class.__name__, model_class)),
            ]
        )
        of_data = Path(config["checkpoint_dir"]) / str(config["dataset"])
        return of_data / SEARCH / f"{config['model']}-{key[:12]}"

    def _best_settings(self, best: FrozenTrial, ended: int) -> str:
        """A file for ``run_recbole.py --config_files``: its run finds the stages finished."""
        config = self.config(best.params)
        given = {k: v for k, v in config.external_config_dict.items() if k != "show_progress"}
        named = {"model": config["model"], "dataset": config["dataset"]}
        if isinstance(self.model, type):  # a class of one's own has no name that a file could say
            del named["model"]
        best_value = f"{self.metric} {best.value:.6f} on validation"
        head = f"# {config['model']}, the best of {ended} trials: {best_value}.\n"
        return head + yaml.safe_dump({**named, **given}, sort_keys=False, allow_unicode=True)


def _validated(trial: Trial, number: int, score: float) -> None:
    """Tell optuna of a validation, RecBole's ``callback_fn``; it may say that it is enough."""
    reported = trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values
    if number not in reported:  # a trial that resumes repeats its last one
        trial.report(score, number)
    if trial.should_prune():
        raise GivenUpError


def _note_stages(trial: Trial, artifacts: Iterable[Artifact]) -> None:
    stages = list(artifacts)
    for name, reused in ((TRAINED, False), (REUSED, True)):
        trial.set_user_attr(name, [each.name for each in stages if each.reused is reused])


def _check(config: NewsConfig) -> None:
    """Refuse settings with which no trial could be validated, or that belong to a single run."""
    mistakes = [
        f"{name} belongs to a single run. Give it to run_recbole.py with the best settings"
        for name in _OF_ONE_RUN
        if config[name]
    ]
    valid = Path(config["data_path"]) / f"{config['dataset']}.valid.inter"
    if not valid.is_file():
        mistakes.append(f"it expects validation impressions, and there is no {valid}")
    if config["eval_step"] == 0:
        mistakes.append("it expects validations, got eval_step=0")
    if not asked_for().alone:
        mistakes.append("it runs in one process. Start the same command several times instead")
    if mistakes:
        raise ValueError("\n- ".join([f"A search for {config['model']} cannot begin:", *mistakes]))


def _check_search(trials: int, pruner: str, startup_trials: int) -> None:
    for name, number in (("trials", trials), ("startup_trials", startup_trials)):
        if number < 1:
            raise ValueError(f"{name} expects at least 1, got {number}.")
    if pruner not in PRUNERS:
        raise ValueError(f"pruner expects one of {', '.join(PRUNERS)}, got {pruner!r}.")
