"""Searches that train: what trials share, what is pruned, kept and written."""

from __future__ import annotations

import csv
import multiprocessing
import os
import re
import signal
import sys
from collections import Counter
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import yaml
from optuna.pruners import ThresholdPruner
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import OperationalError
from tiny import DATASET, Tiny

from recbole_tinynews.__main__ import run_recbole
from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.pipeline import outcome
from recbole_tinynews.search import search as searches
from recbole_tinynews.search.search import Search
from recbole_tinynews.search.search_command import main
from recbole_tinynews.trainer import DistillationTrainer

pytestmark = pytest.mark.whole
STUDENT = ["TinyNewsRec"]
BEFORE = ["post_train_teacher", "post_train_student", "finetune_teacher", "finetune_teacher"]


def silent(line: str) -> None:
    """Takes the lines of a search that a test does not look at."""


def search(tiny: Tiny, space: dict[str, Any], trials: int, **settings: Any) -> Search:
    model = settings.pop("model", "TinyNewsRec")
    given = tiny.settings(model, **settings)
    return Search(model, DATASET, space, trials, config_dict=given)


def stages(trial: FrozenTrial, kind: str) -> list[str]:
    return sorted(filter(None, trial.user_attrs[kind].split(", ")))


@pytest.fixture
def untested(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any evaluation of test impressions is an error."""

    def refuse(*_: Any) -> None:
        raise AssertionError("a trial was tested")

    monkeypatch.setattr(outcome, "_evaluate", refuse)


@pytest.mark.usefixtures("untested")
def test_a_trial_that_changes_stage_two_trains_stage_two_alone_and_is_not_tested(
    tiny: Tiny,
) -> None:
    """Teachers take most of the time; chosen by test metrics, the best one would be flattered."""
    lines: list[str] = []
    # without a value of its own, Stage I has that of Stage II
    stage_one = {"post_train_student_temperature": 1.0}
    found = search(tiny, {"temperature": {"uniform": [0.5, 4]}}, 2, **stage_one)
    best = found.run(lines.append)
    first, second = found.ended()
    assert stages(first, "trained") == sorted(BEFORE + STUDENT)
    assert stages(first, "reused") == []
    assert stages(second, "trained") == STUDENT
    assert stages(second, "reused") == sorted(BEFORE)
    assert best in (first, second)
    assert best.value == max(first.value, second.value)
    assert any(line.startswith("trial 1: complete, auc 0.") for line in lines)
    assert not any("test" in line for line in lines)


def test_the_best_settings_are_a_file_that_run_recbole_takes_and_reuses(
    tiny: Tiny, tmp_path: Path
) -> None:
    """A file that misses one setting of the search would train another recommender."""
    space = {"learning_rate": {"log": [1e-4, 1e-2]}, "negatives": [2, 3]}
    found = search(tiny, space, 3, model="PLMNR", epochs=2)
    best = found.run(silent)
    file = found.folder / "best.yaml"
    result = run_recbole([f"--config_files={file}"])
    assert result["valid"]["auc"] == best.value
    assert all(stage["reused"] for stage in result["stages"])
    assert yaml.safe_load(file.read_text())["learning_rate"] == best.params["learning_rate"]
    with (found.folder / "trials.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert [float(row["auc"]) for row in rows] == sorted(
        (each.value for each in found.ended()), reverse=True
    )
    assert {row["learning_rate"] for row in rows} == {
        str(each.params["learning_rate"]) for each in found.ended()
    }


def test_a_pruned_trial_ends_at_its_validation_and_leaves_no_half_trained_stage(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pruning that waits for the end saves nothing; fifty half-trained students fill a disk."""
    monkeypatch.setattr(searches, "MedianPruner", lambda **_: ThresholdPruner(lower=1.1))
    found = search(tiny, {"temperature": {"uniform": [0.5, 4]}}, 1, max_steps=6, eval_steps=2)
    assert found.run(silent) is None
    (trial,) = found.ended()
    assert trial.state is TrialState.PRUNED
    assert list(trial.intermediate_values) == [0]
    assert stages(trial, "trained") == sorted(BEFORE)
    left = {each.name.partition("-")[0] for each in (tmp_path / "saved" / DATASET).glob("*-*")}
    assert left == {*BEFORE}


def test_the_median_prunes_a_trial_that_is_worse_than_half_of_the_others(tiny: Tiny) -> None:
    """The default has to be able to prune; with a rate of nearly 0 nothing is learnt."""
    space = {"learning_rate": {"uniform": [1e-12, 0.1]}}
    settings = tiny.settings("PLMNR", epochs=6, eval_steps=5, negatives=2, finetune_layers="all")
    found = Search("PLMNR", DATASET, space, 3, config_dict=settings, startup_trials=1)
    for rate in (0.01, 0.02, 1e-12):
        found.study.enqueue_trial({"learning_rate": rate})
    found.run(silent)
    good, _, bad = found.ended()
    assert good.state is TrialState.COMPLETE
    assert bad.state is TrialState.PRUNED
    assert len(bad.intermediate_values) < len(good.intermediate_values)


def test_settings_that_contradict_each_other_fail_alone_and_with_a_reason(tiny: Tiny) -> None:
    """One pair of fifty must not end the search, nor be hidden."""
    space = {"distillation_loss_weight": [0.0, 1.0]}
    weights = {"embedding_loss_weight": 0.0, "target_loss_weight": 0.0}
    found = search(tiny, space, 2, **weights)
    for weight in (0.0, 1.0):
        found.study.enqueue_trial({"distillation_loss_weight": weight})
    lines: list[str] = []
    best = found.run(lines.append)
    failed, complete = found.ended()
    assert "leaves no loss" in failed.user_attrs["reason"]
    assert best == complete
    assert any(line.startswith("trial 0: failed; ") and "no loss" in line for line in lines)


def test_a_full_disk_ends_the_search_and_keeps_the_trial(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every other trial would fail too, and be counted."""

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    space = {"learning_rate": {"log": [1e-4, 1e-2]}}
    found = search(tiny, space, 1, model="PLMNR")
    with monkeypatch.context() as patch:
        patch.setattr(searches, "prepared", full)
        with pytest.raises(OSError, match="No space"):
            found.run(silent)
    assert found.ended() == []
    again = search(tiny, space, 1, model="PLMNR")
    assert again.folder == found.folder
    assert again.run(silent).params == found.study.trials[0].params
    lines: list[str] = []
    search(tiny, space, 1, model="PLMNR").run(lines.append)  # nothing is left to do
    assert lines[0].startswith("1 of 1 trials have ended")
    found.study.optimize(lambda trial: found._objective(lines.append, trial), 1, catch=Exception)
    assert not any(line.startswith("trial ") for line in lines)  # begun at the same moment
    fails = OperationalError("UPDATE trials", {}, Exception("database or disk is full"))
    monkeypatch.setattr(RDBStorage, "set_trial_state_values", Mock(side_effect=fails))
    with pytest.raises(OSError, match=r"sqlite://: database or disk is full\. .*are kept"):
        search(tiny, space, 2, model="PLMNR").run(silent)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"eval_step": 0}, "expects validations"), ({"fresh": True}, "train shared stages again")],
)
def test_a_search_that_cannot_compare_is_refused_before_its_first_trial(
    tiny: Tiny, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        search(tiny, {"temperature": [1.0, 2.0]}, 2, **settings)


def test_other_settings_another_space_or_metric_are_another_study(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values of two epochs and of three are not comparable; the same command has to resume."""
    file = tmp_path / "my_metric.py"
    file.write_text("one")
    monkeypatch.setattr(searches, "files_of_metric", lambda result: [file])
    space = {"temperature": [1.0, 2.0]}
    one = search(tiny, space, 1)
    assert search(tiny, space, 5).folder == one.folder
    assert search(tiny, space, 1, epochs=2).folder != one.folder
    assert search(tiny, {"temperature": [1.0, 3.0]}, 1).folder != one.folder
    file.write_text("another")
    assert search(tiny, space, 1).folder != one.folder


class Own(PLMNR):
    """A recommender of a user's own."""


def test_a_class_of_a_users_own_is_searched_and_no_file_names_it(tiny: Tiny) -> None:
    """``best.yaml`` with a name that nobody finds would be refused by the command it is for."""
    found = Search(Own, DATASET, {"negatives": [2, 3]}, 1, config_dict=tiny.settings("PLMNR"))
    assert found.run(silent) is not None
    assert found.folder.name.startswith("Own-")
    best = yaml.safe_load((found.folder / "best.yaml").read_text())
    assert "model" not in best
    assert best["dataset"] == DATASET


def test_recboles_own_models_are_searched_and_pruned(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their trainers are RecBole's, which validate in their own way."""
    space = {"n_layers": {"int": [1, 3]}}
    settings = tiny.stock_settings(epochs=3)
    found = Search("LightGCN", DATASET, space, 1, config_dict=settings)
    best = found.run(silent)
    assert list(best.intermediate_values) == [0, 1, 2]
    assert best.value == pytest.approx(max(best.intermediate_values.values()))
    monkeypatch.setattr(searches, "MedianPruner", lambda **_: ThresholdPruner(lower=1.1))
    others = {**settings, "epochs": 4}  # for which nothing is trained yet
    pruned = Search("LightGCN", DATASET, space, 1, config_dict=others)
    assert pruned.run(silent) is None
    assert [list(each.intermediate_values) for each in pruned.ended()] == [[0]]


# ------------------------------------------------------------------------- in processes of its own

PROCESSES = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
if sys.platform != "win32":  # a new process that imports everything anew takes seconds
    PROCESSES.set_forkserver_preload(
        ["recbole_tinynews.search.search", "alembic", "sqlalchemy.dialects.sqlite"]
    )


def run_command(arguments: list[str], folder: Path, output: str, step: int, name: str) -> None:
    """``run_search.py`` in a process that sends itself a signal at a step of the last stage."""
    os.chdir(folder)
    for stream, kind in ((sys.stdout, "out"), (sys.stderr, "err")):
        os.dup2(os.open(f"{output}.{kind}", os.O_CREAT | os.O_WRONLY), stream.fileno())
    searches.SIGN_OF_LIFE, searches.GRACE = 1, 4
    plain = DistillationTrainer.after_step

    def until(self: DistillationTrainer, *taken: Any) -> None:
        plain(self, *taken)
        if self.step == step and type(self.model).__name__ == "TinyNewsRec":
            os.kill(os.getpid(), getattr(signal, name))

    DistillationTrainer.after_step = until
    main(arguments)


@pytest.fixture
def command(tiny: Tiny, tmp_path: Path) -> list[str]:
    settings = tiny.settings("TinyNewsRec", max_steps=5, eval_steps=2, save_steps=1)
    settings["post_train_student_temperature"] = 1.0
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(settings))
    (tmp_path / "space.yaml").write_text("temperature: {uniform: [0.5, 4]}\n")
    return ["--model=TinyNewsRec", f"--dataset={DATASET}", "--config_files=base.yaml"]


def start(
    command: list[str], folder: Path, output: str = "output", step: int = 0, name: str = "SIGKILL"
) -> BaseProcess:
    given = (command, folder, output, step, name)
    process = PROCESSES.Process(target=run_command, args=given, daemon=True)
    process.start()
    return process


def rows_of(folder: Path) -> list[dict[str, str]]:
    (table,) = folder.glob("saved/*/search/*/trials.csv")
    with table.open() as file:
        return list(csv.DictReader(file))


def test_a_killed_search_resumes_its_trial_and_ends_with_as_many_as_asked_for(
    command: list[str], tmp_path: Path
) -> None:
    """A trial that stays 'running' would be missing; one begun anew would cost its steps again."""
    asked = [*command, "--trials=2"]
    killed = start(asked, tmp_path, step=4)
    killed.join(300)
    assert killed.exitcode == -signal.SIGKILL
    resumed = start(asked, tmp_path, "resumed")
    resumed.join(300)
    assert resumed.exitcode == 0, (tmp_path / "resumed.err").read_text()
    out = (tmp_path / "resumed.out").read_text()
    rows = rows_of(tmp_path)
    assert [row["state"] for row in rows] == ["COMPLETE", "COMPLETE"]
    assert {row["trained"] for row in rows} == {"TinyNewsRec"}
    logs = "".join(log.read_text() for log in (tmp_path / "saved").rglob("*.log"))
    assert "Resuming from step 3 of 5" in logs  # of the fourth none is saved
    assert "0 of 2 trials have ended" in out


def test_ctrl_c_ends_in_one_line_that_says_what_is_kept(command: list[str], tmp_path: Path) -> None:
    """A traceback leaves open whether an afternoon is lost."""
    stopped = start([*command, "--trials=2"], tmp_path, step=4, name="SIGINT")
    stopped.join(300)
    err = (tmp_path / "output.err").read_text()
    assert stopped.exitcode == 130, err
    assert "Traceback" not in err
    said = [line for line in err.splitlines() if not line.startswith("WARNING:")]
    assert len(said) == 2  # and the one that ends the line with ^C
    assert "kept in saved/tiny: post_train_teacher" in err
    assert "TinyNewsRec (up to step 3)" in err
    assert err.rstrip().endswith("--config_files=base.yaml --trials=2")


@pytest.mark.long
def test_two_processes_share_the_trials_and_every_stage(command: list[str], tmp_path: Path) -> None:
    """Started twice, the command must neither double a trial nor train a stage twice."""
    asked = [*command, "--trials=4"]
    both = [start(asked, tmp_path, output) for output in ("one", "other")]
    for each in both:
        each.join(600)
    errors = [file.read_text() for file in tmp_path.glob("*.err")]
    assert [each.exitcode for each in both] == [0, 0], errors
    rows = rows_of(tmp_path)
    assert sorted(int(row["trial"]) for row in rows) == list(range(4))
    assert len({row["temperature"] for row in rows}) == 4
    trained = Counter(name for row in rows for name in row["trained"].split(", "))
    assert trained["post_train_teacher"] == trained["post_train_student"] == 1
    assert trained["finetune_teacher"] == 2
    told = "".join(file.read_text() for file in tmp_path.glob("*.out"))
    begun = re.findall(r"trial (\d+): temperature", told)
    assert sorted(begun) == sorted(row["trial"] for row in rows)
