"""A search is an optuna study whose trials are validated and not tested."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from logging import getLogger
from math import isfinite
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from recbole_tinynews.benchmark.planning import result_fingerprint
from recbole_tinynews.evaluation.recbole_metrics import files_of_metric
from recbole_tinynews.files.array_cache import content_key
from recbole_tinynews.files.whole import FULL_DISK, exclusive_lock, write_text
from recbole_tinynews.pipeline.config import NewsConfig
from recbole_tinynews.pipeline.quick_start import prepared
from recbole_tinynews.pipeline.run import GivenUpError
from recbole_tinynews.processes.group import launched_group
from recbole_tinynews.settings.literals import parse_command_line, read_yaml, write_yaml
from recbole_tinynews.settings.table import Affects, parse_key, setting
from recbole_tinynews.settings.values import refuse

Distribution = CategoricalDistribution | FloatDistribution | IntDistribution
_DRAW: dict[type, Callable[..., Any]] = {
    CategoricalDistribution: Trial.suggest_categorical,
    FloatDistribution: Trial.suggest_float,
    IntDistribution: Trial.suggest_int,
}

ENDED = (TrialState.COMPLETE, TrialState.PRUNED)  # other trials run, wait or were interrupted
SIGN_OF_LIFE, GRACE = 10, 60  # seconds; a trial that gives no sign is run again
_OF_DATABASE = (SQLAlchemyError, StorageInternalError)
# trials with different values could not be compared; the best of several seeds is the luckiest
_SAME_FOR_ALL = ("dataset", "seed", "valid_metric", "metric_decimal_place", "eval_args")


class Search:
    """Searches a model's settings for the best ``valid_metric``; the same search resumes.

    Trials share finished stages, and several processes may share the trials. Raises ``ValueError``
    for mistakes in settings or space, and without validation;
    ``OSError`` for a database that cannot be opened.

    Args:
        model, dataset, config_file_list, config_dict, command_line: as for ``run``.
        space: yaml file, or its contents (see ``make_space``).
        trials: total number, including earlier calls and other processes.
        startup_trials: complete trials before any is pruned for being below their median.
        storage: address of a database that optuna knows; None: sqlite in ``folder``.
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
        startup_trials: int = 5,
        storage: str | None = None,
    ) -> None:
        self.settings = {"show_progress": False, **(config_dict or {})}
        self.wanted = trials
        self._given = model, dataset, config_file_list, command_line
        config = NewsConfig(*self._arguments({}))
        described = space if isinstance(space, Mapping) else read_yaml(space)
        source = "space" if isinstance(space, Mapping) else str(space)
        fixed = parse_command_line(command_line).values
        self.space = make_space(described, source, config, fixed)
        valid = Path(config["data_path"]) / f"{config['dataset']}.valid.inter"
        mistakes = {
            "trials and startup_trials expect at least 1": min(trials, startup_trials) < 1,
            f"it expects validation impressions, and there is no {valid}": not valid.is_file(),
            "it expects validations, got eval_step=0": config["eval_step"] == 0,
            "fresh=True would train shared stages again": config["fresh"],
            "one process runs a trial. Start the command several times": not launched_group().alone,
        }
        made = (mistake for mistake, is_made in mistakes.items() if is_made)
        refuse(f"A search for {config['model']} cannot begin:", made)
        last = config.for_stage(config["stage"]) if config["stage"] else config
        self.metric, self.seed = str(last["valid_metric"]).lower(), config["seed"]
        compared = repr([config["stage"], self.metric, self.space])
        files = files_of_metric(last["valid_metric"])
        key = content_key([result_fingerprint(config), compared, *files])[:12]
        of_data = Path(config["checkpoint_dir"]) / str(config["dataset"])
        self.folder = of_data / "search" / f"{config['model']}-{key}"
        self.bigger_is_better = last["valid_metric_bigger"]
        self.study = self._open(storage, startup_trials)

    def ended(self) -> list[FrozenTrial]:
        """Complete and pruned trials; those that failed are pruned, with a ``reason``."""
        return self.study.get_trials(deepcopy=False, states=ENDED)

    def run(self, tell: Callable[[str], None] = print) -> FrozenTrial | None:
        """Run the missing trials and write the report; returns the best one, if any.

        A trial that Ctrl-C or a full disk ends is run again the next time. ``OSError`` for a full
        disk, and for a database that cannot be written.
        """
        waits = False
        with self._database_errors():
            tell(f"{len(self.ended())} of {self.wanted} trials have ended, in {self.folder}")
            while (ended := len(self.ended())) < self.wanted:
                fail_stale_trials(self.study)
                running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
                if ended + len(running) < self.wanted:
                    objective = partial(self._objective, tell)
                    self.study.optimize(objective, n_trials=1, catch=GivenUpError)
                    continue
                if not waits:
                    tell(f"waiting for other processes; a killed one's trial begins in {GRACE} s")
                waits = True
                time.sleep(1)
            return self.report(tell)

    def report(self, tell: Callable[[str], None] = print) -> FrozenTrial | None:
        """Write a table of the trials and the best settings; returns the best trial."""
        table = self.study.trials_dataframe(("number", "state", "value", "params", "user_attrs"))
        table = table[table["state"].isin([state.name for state in ENDED])]
        table = table.sort_values(["state", "value"], ascending=[True, not self.bigger_is_better])
        table.columns = table.columns.str.replace("^(params|user_attrs)_", "", regex=True)
        table = table.rename(columns={"number": "trial", "value": self.metric})
        write_text(self.folder / "trials.csv", table.to_csv(index=False))
        tell(table.drop(columns="reused", errors="ignore").to_string(index=False, na_rep=""))
        tell(f"written   {self.folder / 'trials.csv'}")
        if "COMPLETE" not in [*table["state"]]:
            return None
        best = self.study.best_trial
        config = NewsConfig(*self._arguments(best.params))
        settings = {"dataset": config["dataset"], **config.external_config_dict}
        if not isinstance(self._given[0], type):
            settings["model"] = config["model"]
        del settings["show_progress"]
        head = f"# Trial {best.number} of a search: {self.metric} {best.value:.6f} on validation.\n"
        write_text(self.folder / "best.yaml", head + write_yaml(settings))
        tell(f"written   {self.folder / 'best.yaml'}")
        return best

    def _arguments(self, params: Mapping[str, Any]) -> tuple[Any, ...]:
        model, dataset, files, command_line = self._given
        return model, dataset, files, {**self.settings, **params}, command_line

    def _open(self, storage: str | None, startup_trials: int) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", category=ExperimentalWarning)  # signs of life
        url = storage or f"sqlite:///{self.folder.resolve() / 'study.db'}?timeout=60"
        self._again = RetryHeartbeatStaleTrialCallback(inherit_intermediate_values=True)
        life: Any = {"heartbeat_interval": SIGN_OF_LIFE, "grace_period": GRACE}
        self._kind = url.partition("://")[0]  # the rest may have a password
        with self._database_errors(), exclusive_lock(self.folder / "study", "opening it"):
            return optuna.create_study(  # its tables are made once
                storage=RDBStorage(url, heartbeat_stale_trial_callback=self._again, **life),
                study_name=self.folder.name,
                direction="maximize" if self.bigger_is_better else "minimize",
                pruner=MedianPruner(n_startup_trials=startup_trials),
                load_if_exists=True,
            )

    @contextmanager
    def _database_errors(self) -> Iterator[None]:
        try:
            yield
        except (*_OF_DATABASE, ImportError, AssertionError) as problem:
            # optuna asserts that the end of a trial was written
            if not (said := _of_database(problem)):
                raise
            raise OSError(
                "storage expects a database that can be opened and written, got one of "
                f"{self._kind}://: {said}. Check address, password, driver and "
                "free space. Finished trials are kept: the same search resumes."
            ) from problem

    def _objective(self, tell: Callable[[str], None], trial: Trial) -> float:
        begun = self.study.get_trials(deepcopy=False, states=(*ENDED, TrialState.RUNNING))
        if sum(each.number < trial.number for each in begun) >= self.wanted:
            raise GivenUpError  # another process has begun the last one at the same moment
        # a seed per trial: processes with a common one would draw the same values
        self.study.sampler = TPESampler(seed=self.seed + trial.number)
        params = {n: _DRAW[type(of)](trial, n, **vars(of)) for n, of in self.space.items()}
        tell(f"trial {trial.number}: " + " ".join(f"{name}={params[name]}" for name in params))
        ended = ""
        try:
            value = self._validation(trial, NewsConfig(*self._arguments(params)))
            ended = f"complete, {self.metric} {value:.6f}"
            return value
        except GivenUpError:
            ended = "pruned"
            raise optuna.TrialPruned from None
        except _OF_DATABASE:
            raise
        except Exception as problem:
            if isinstance(problem, OSError) and problem.errno in FULL_DISK:
                raise
            if not isinstance(problem, ValueError):
                getLogger().exception(f"Trial {trial.number} failed")
            trial.set_user_attr("reason", " ".join((str(problem) or repr(problem)).split()))
            ended = "failed"
            raise optuna.TrialPruned from problem  # optuna learns nothing from a failure
        finally:
            if ended:
                about = [f"{name} {value}" for name, value in trial.user_attrs.items() if value]
                tell("; ".join([f"trial {trial.number}: {ended}", *about]))
            else:
                self._again(self.study, self.study.trials[trial.number])

    def _validation(self, trial: Trial, config: NewsConfig) -> float:
        def report(number: int, score: float) -> None:
            trial.report(score, number)
            if trial.should_prune():
                raise GivenUpError

        with prepared(config) as (this_run, stages):
            this_run.callbacks[stages[-1]] = report
            try:
                return float(this_run.make(*stages).valid[self.metric])
            finally:
                made = this_run.artifacts.values()
                trial.set_user_attr("trained", ", ".join(a.name for a in made if not a.reused))
                trial.set_user_attr("reused", ", ".join(a.name for a in made if a.reused))


def _of_database(problem: BaseException) -> str:
    """What the database itself says, without statements or passwords, else the kind of error."""
    cause: BaseException | None = problem
    while cause is not None:
        if isinstance(cause, DBAPIError):
            return " ".join(str(cause.orig).split())
        cause = cause.__cause__ or cause.__context__
    return "" if isinstance(problem, AssertionError) else type(problem).__name__


def make_space(
    described: Mapping[str, Any], source: str, config: NewsConfig, fixed: Collection[str]
) -> dict[str, Distribution]:
    """The distribution of each setting; ``ValueError`` lists all mistakes of ``source``."""
    space = {}
    mistakes = [] if described else ["it names no setting"]
    for name, values in described.items():
        try:
            row = setting(parse_key(name, config.settings.stages).name)
            if name in fixed:
                raise ValueError("is on the command line too, which would fix it. Leave it out")
            if row.name in _SAME_FOR_ALL or row.affects is Affects.NOTHING:
                raise ValueError("expects one value for all trials. Give it on the command line")
            space[name] = drawn = _distribution(values)
            attributes = vars(drawn)
            ends = attributes.get("choices") or (attributes["low"], attributes["high"])
            unfit = (config.settings.mistake_of(name, value) for value in ends)
            mistakes += [f"{name} {mistake}" for mistake in unfit if mistake][:1]
        except (TypeError, ValueError) as mistake:
            mistakes.append(f"{name} {mistake}")
    refuse(f"{source} is no space for {config['model']}:", mistakes)
    return space


def _distribution(values: Any) -> Distribution:
    match values:
        case [_, _, *_]:
            return CategoricalDistribution(values)
        case {"uniform": [low, high], **rest} if rest.keys() <= {"step"} and _finite(low, high):
            return FloatDistribution(low, high, step=values.get("step"))
        case {"log": [low, high], **rest} if not rest and _finite(low, high):
            return FloatDistribution(low, high, log=True)
        case {"int": [int(low), int(high)], **rest} if rest.keys() <= {"step"}:
            return IntDistribution(low, high, step=values.get("step", 1))
    raise ValueError(
        "expects a list of at least two values, {uniform: [low, high]}, {log: [low, high]} or "
        f"{{int: [low, high]}}, the first and the last with an optional step, got {values!r}"
    )


def _finite(*ends: Any) -> bool:
    return all(isinstance(end, (int, float)) and isfinite(end) for end in ends)
