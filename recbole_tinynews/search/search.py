"""Runs a search and writes its report: trials are validated, not tested."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import distribution_to_json
from optuna.pruners import BasePruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.trial import FrozenTrial

from recbole_tinynews.benchmark.planning import FileContents
from recbole_tinynews.config import NewsConfig
from recbole_tinynews.evaluation.own_metrics import files_of_metric
from recbole_tinynews.files.array_cache import content_key
from recbole_tinynews.pipeline.artifact import ARTIFACT_FORMAT
from recbole_tinynews.pipeline.fingerprints import source_of
from recbole_tinynews.pipeline.stage import Stage
from recbole_tinynews.processes.group import launched_group
from recbole_tinynews.quick_start import run
from recbole_tinynews.search import report
from recbole_tinynews.search.space import Space, make_space
from recbole_tinynews.search.study import REASON, Trials, run_trial
from recbole_tinynews.settings.literals import parse_command_line, read_yaml
from recbole_tinynews.settings.table import Affects, setting
from recbole_tinynews.settings.values import refuse

SEARCH = "search"  # folder of all searches, beside the stages
# settings for the files of a single run, and one that would retrain shared stages
_OF_ONE_RUN = ("fresh", "result_file", "eval_dump", "submission")
_MOST_FAILURES = 10  # of the first trials, after which the search gives up

PRUNERS: dict[str, Callable[[int], BasePruner]] = {
    "median": lambda trials: MedianPruner(n_startup_trials=trials),
    "halving": lambda _: SuccessiveHalvingPruner(),
    "none": lambda _: NopPruner(),
}


class Search:
    """Searches a model's settings for the best ``valid_metric``.

    Trials share a ``checkpoint_dir``, so common stages are trained once. A search with the same
    settings, space and data resumes; several processes may share it. Raises ``ValueError`` for
    invalid settings or space, or without validation.

    Args:
        model: name or class.
        dataset: name of the data set.
        space: yaml file, or its contents (see ``make_space``).
        trials: total number, including earlier calls and other processes.
        config_file_list, config_dict, command_line: as for ``run``; the space overrides the dict.
        pruner: one of ``PRUNERS``.
        startup_trials: complete trials before the median pruner starts.
        storage: optuna storage URL, or a journal file; None: sqlite in ``folder``.
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
        self.files, self.command_line = config_file_list, command_line
        self.settings = dict(config_dict or {})
        config = self.config()
        described, source = (
            (space, "space") if isinstance(space, Mapping) else (read_yaml(space), str(space))
        )
        fixed = parse_command_line(command_line).values
        self.space = make_space(described, source, config, fixed)
        _check(config)
        _check_search(trials, pruner, startup_trials)
        last = config.for_stage(config["stage"]) if config["stage"] else config
        self.metric = str(last["valid_metric"]).lower()
        of_data = Path(config["checkpoint_dir"]) / str(config["dataset"])
        self.folder = of_data / SEARCH / f"{config['model']}-{search_key(config, self.space)}"
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.trials = Trials(
            self.folder,
            self.space,
            PRUNERS[pruner](startup_trials),
            config["seed"],
            last["valid_metric_bigger"],
            storage,
        )

    def config(self, params: Mapping[str, Any] | None = None) -> NewsConfig:
        """Settings of a trial; without ``params``, those shared by all trials."""
        return NewsConfig(*self._run_arguments(params or {}))

    def run(self, tell: Callable[[str], None] = print) -> FrozenTrial | None:
        """Run the missing trials and write the report; returns the best one, if any.

        Raises ``ValueError`` if the first trials all failed; ``KeyboardInterrupt`` for Ctrl-C, with
        what is kept, after which the running trial is put back, as after a full disk.
        """
        tell(f"{len(self.trials.ended())} of {self.wanted} trials have ended, in {self.folder}")
        try:
            while self._run_one(tell):
                self._check_failures()
        except KeyboardInterrupt as stop:
            ended = len(self.trials.ended())
            kept = f"kept in {self.folder}: {ended} of {self.wanted} trials"
            of_last = f"; of the one that ran, {stop}" if str(stop) else ""
            raise KeyboardInterrupt(kept + of_last) from stop
        return self.report(tell)

    def report(self, tell: Callable[[str], None] = print) -> FrozenTrial | None:
        """Write table, figures and best settings of the finished trials; returns the best one."""
        study, ended = self.trials.study, self.trials.ended()
        tell(report.trials_table(study, ended, self.metric))
        best = report.best_of(study, ended)
        written = report.write_report(self.folder, study, ended, self.metric)
        if best is not None:
            report.write_best(self.folder, self.config(best.params), best, self.metric)
            written.append(report.BEST)
        tell(f"written   {', '.join(written)} in {self.folder}")
        if not any(name.startswith(report.IMPORTANCE) for name in written):
            tell(f"          a figure of {report.IMPORTANCE} needs {report.ENOUGH} complete trials")
        return best

    def test(self, trial: FrozenTrial) -> dict[str, Any]:
        """Train and test with a trial's settings; returns the result of ``quick_start.run``."""
        return run(*self._run_arguments(trial.params))

    def _run_arguments(self, params: Mapping[str, Any]) -> tuple[Any, ...]:
        values = {"show_progress": False, **self.settings, **params}
        return self.model, self.dataset, self.files, values, self.command_line

    def _run_one(self, tell: Callable[[str], None]) -> bool:
        with self.trials.claim(self.wanted, tell) as trial:
            if trial is None:
                return False
            tell(f"trial {trial.number}: {report.in_words(trial.params)}")
            try:
                state, value = run_trial(trial, partial(self.config, trial.params), self.metric)
            except BaseException:  # Ctrl-C, a full disk
                self.trials.put_back(trial.number)
                raise
            ended = self.trials.study.tell(trial, value, state)
            tell(f"trial {trial.number}: {report.how_it_ended(ended, self.metric)}")
        return True

    def _check_failures(self) -> None:
        ended = self.trials.ended()
        if len(ended) >= _MOST_FAILURES and all(REASON in each.user_attrs for each in ended):
            raise ValueError(
                f"A search expects trials that can be trained, and all of the first {len(ended)} "
                f"failed, the last one with: {ended[-1].user_attrs[REASON]} Correct settings or "
                f"space; to start again with the same ones, delete {self.folder} first."
            )


def _check(config: NewsConfig) -> None:
    """Refuse settings that prevent validation, or that belong to a single run."""
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
    if not launched_group().alone:
        mistakes.append("it runs in one process. Start the same command several times instead")
    refuse(f"A search for {config['model']} cannot begin:", mistakes)


def _check_search(trials: int, pruner: str, startup_trials: int) -> None:
    for name, number in (("trials", trials), ("startup_trials", startup_trials)):
        if number < 1:
            raise ValueError(f"{name} expects at least 1, got {number}.")
    if pruner not in PRUNERS:
        raise ValueError(f"pruner expects one of {', '.join(PRUNERS)}, got {pruner!r}.")


def search_key(config: NewsConfig, space: Space) -> str:
    """Digest of shared settings, space, data and user code."""
    model_class = config.model_class
    last = config.for_stage(config["stage"]) if config["stage"] else config
    settings = {
        str(key): value
        for key, value in config.by_key().items()
        if str(key) not in space and setting(key.name).affects is not Affects.NOTHING
    }
    described = {
        "format": ARTIFACT_FORMAT,
        "model": f"{model_class.__module__}.{model_class.__qualname__}",
        "stage": config["stage"],
        "settings": settings,
        "space": {name: distribution_to_json(each) for name, each in space.items()},
    }
    contents = FileContents(config)
    return content_key(
        [
            json.dumps(described, sort_keys=True, default=str),
            contents.data_content(model_class, config),
            contents.language_model_content(config),
            *source_of(Stage(model_class.__name__, model_class)),
            *files_of_metric(last["valid_metric"]),
        ]
    )[:12]
