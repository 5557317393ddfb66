"""What a search writes for people: a table in the right order, and figures that say something."""

from __future__ import annotations

import csv
from pathlib import Path

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from recbole_tinynews.search.report import (
    ENOUGH,
    best_of,
    how_it_ended,
    trials_table,
    write_report,
)
from recbole_tinynews.search.study import REASON, REUSED, SECONDS, TRAINED

SPACE = {
    "temperature": FloatDistribution(0.5, 4.0),
    "news_pooling": CategoricalDistribution(["mean", "cls"]),
}


def study_of(complete: int, direction: str = "maximize") -> optuna.Study:
    """So many complete trials, the fourth with the highest value; one pruned and one failed."""
    study = optuna.create_study(direction=direction)
    for number in range(complete + 2):
        pruned = number >= complete
        failed = number == complete + 1
        study.add_trial(
            create_trial(
                state=TrialState.PRUNED if pruned else TrialState.COMPLETE,
                value=None if pruned else 0.6 - 0.01 * abs(number - 3),
                params={
                    "temperature": 0.5 + number / 10,
                    "news_pooling": "mean" if number % 2 else "cls",
                },
                distributions=SPACE,
                intermediate_values={0: 0.9} if pruned and not failed else {},
                user_attrs={
                    SECONDS: 1.5,
                    TRAINED: ["TinyNewsRec"],
                    REUSED: ["finetune_teacher", "finetune_teacher"],
                    **({REASON: "=leaves no loss"} if failed else {}),
                },
            )
        )
    return study


def test_the_best_trial_is_a_complete_one() -> None:
    """A pruned trial may have been ahead at its first validation; its weights are gone."""
    study = study_of(4)
    assert best_of(study, study.trials) == study.trials[3]
    assert best_of(study, study.trials[4:]) is None


def test_the_table_has_the_best_first_and_the_failed_last() -> None:
    study = study_of(4)
    lines = trials_table(study, study.trials, "auc").splitlines()
    assert [line.split()[:2] for line in lines[1:4]] == [
        ["3", "complete"],
        ["2", "complete"],
        ["1", "complete"],
    ]
    assert lines[-1].split()[:2] == ["5", "failed"]
    assert lines[-1].endswith("leaves no loss")


def test_of_a_metric_like_a_loss_the_smallest_value_is_the_best() -> None:
    """Taken for an accuracy, the search would end with its worst settings."""
    study = study_of(4, "minimize")
    assert best_of(study, study.trials) == study.trials[0]
    numbers = [line.split()[0] for line in trials_table(study, study.trials, "loss").splitlines()]
    assert numbers[1:] == ["0", "1", "2", "3", "4", "5"]


def test_a_line_says_what_was_trained_and_what_was_reused() -> None:
    said = how_it_ended(study_of(4).trials[0], "auc")
    assert said == "complete, auc 0.570000, 1.5 s; trained TinyNewsRec; reused finetune_teacher x2"


def test_the_csv_has_every_trial_with_exact_values_and_no_formula(tmp_path: Path) -> None:
    """Rounded values would not give the same training again."""
    study = study_of(4)
    write_report(tmp_path, study, study.trials, "auc")
    with (tmp_path / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["temperature"]) for row in rows] == [
        trial.params["temperature"] for trial in study.trials
    ]
    assert rows[5]["reason"] == "'=leaves no loss"


def test_importance_is_drawn_from_enough_trials_alone(tmp_path: Path) -> None:
    """From two trials, one setting or another always seems to decide."""
    few, enough = study_of(ENOUGH - 1), study_of(ENOUGH)
    assert write_report(tmp_path / "few", few, few.trials, "auc")[1:] == [
        "history.png",
        "history.pdf",
    ]
    written = write_report(tmp_path / "enough", enough, enough.trials, "auc")
    assert written[3:] == ["importance.png", "importance.pdf"]
    for name in written[1:]:
        head = (tmp_path / "enough" / name).read_bytes()[:4]
        assert head == (b"%PDF" if name.endswith("pdf") else b"\x89PNG")
