from __future__ import annotations

import csv
import json
import logging
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.torch import load_file
from tiny import DATASET, Tiny, write_dataset

import recbole_tinynews
from recbole_tinynews.__main__ import run_recbole as main
from recbole_tinynews.data.dataloader import ImpressionDataLoader
from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.evaluation.metrics import ScoredImpressions, gauc
from recbole_tinynews.files import tensors as weights
from recbole_tinynews.model.baselines.without_texts import CategoryMatch
from recbole_tinynews.pipeline import outcome
from recbole_tinynews.pipeline import run as runs
from recbole_tinynews.pipeline.artifact import (
    Artifact,
    read_metrics,
    saved_test_result,
    write_metrics,
)
from recbole_tinynews.pipeline.config import NewsConfig
from recbole_tinynews.pipeline.fingerprints import Recipe
from recbole_tinynews.pipeline.quick_start import prepared, run
from recbole_tinynews.pipeline.run import Run
from recbole_tinynews.pipeline.stage import in_order
from recbole_tinynews.pipeline.systems import system
from recbole_tinynews.trainer import NewsTrainer

KEYS = [
    *("model", "dataset", "seed", "valid", "test", "test_cold", "parameters"),
    *("stages", "news_per_second", "budget", "environment"),
]
FOUR_STAGES = [
    *("post_train_teacher", "post_train_student"),
    *("finetune_teacher", "finetune_teacher", "TinyNewsRec"),
]
METRICS = {"auc", "mrr", "ndcg@5", "ndcg@10", "impressions", "skipped"}


def flags(tiny: Tiny, model: str, **settings) -> list[str]:
    return [f"--{name}={value}" for name, value in tiny.settings(model, **settings).items()]


def as_json(result: dict[str, Any]) -> dict[str, Any]:
    """The result as a file has it: json has no NaN, as of cold impressions where there are none."""
    return json.loads(json.dumps(result).replace("NaN", "null"))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


SYSTEMS = {
    "PLMNRDAPT": ["pretrain_teacher", "PLMNRDAPT"],
    "PLMNRDP": ["post_train_teacher", "PLMNRDP"],
    "EnsembleTeacher": [*FOUR_STAGES[:1], *FOUR_STAGES[2:4], "EnsembleTeacher"],
    "TinyBERT": ["post_train_teacher", "finetune_teacher", "TinyBERT"],
    "TinyBERTMT": [*FOUR_STAGES[:1], *FOUR_STAGES[2:4], "TinyBERTMT"],
    "MTBERT": ["post_train_teacher", "finetune_teacher", "MTBERT"],
    "NewsBERT": ["post_train_teacher", "NewsBERT"],
    "NewsBERTMT": ["post_train_teacher", "NewsBERTMT"],
}


@pytest.mark.parametrize("model", SYSTEMS)
def test_a_system_has_the_stages_that_were_promised(tiny: Tiny, model: str) -> None:
    stages = in_order(system(tiny.config(model)))
    assert [stage.name for stage in stages] == SYSTEMS[model]


@pytest.mark.parametrize(
    ("model", "stages"),
    [
        ("PLMNR", ["PLMNR"]),
        ("PLMNRTAPT", ["pretrain_teacher", "PLMNRTAPT"]),
        ("TinyNewsRec", FOUR_STAGES),
    ],
)
def test_a_run_leaves_the_result_that_was_promised(tiny: Tiny, tmp_path, model, stages) -> None:
    """Checks and tables read these keys; no other test notices a renamed one."""
    result = run(
        model,
        DATASET,
        config_dict=tiny.settings(model),
        command_line=["--result_file=out/result.json", "--eval_dump=out/dump.csv"],
    )
    assert list(result) == [*KEYS, *(["teachers"] if "finetune_teacher" in stages else [])]
    written = json.loads((tmp_path / "out" / "result.json").read_text())
    assert written == as_json(result)
    assert (result["model"], result["dataset"], result["seed"]) == (model, DATASET, 2020)
    for split in ("valid", "test"):
        assert result[split].keys() == METRICS
        assert (result[split]["impressions"], result[split]["skipped"]) == (12, 2)
        assert all(0 <= result[split][m] <= 1 for m in METRICS - {"impressions", "skipped"})
    assert [stage["name"] for stage in result["stages"]] == stages
    for stage in result["stages"]:
        assert list(stage) == ["name", "fingerprint", "reused", "seconds"]
        assert stage["reused"] is False
    folder = tmp_path / "saved" / DATASET / f"{model}-{stage['fingerprint']}"
    weights = load_file(folder / "model.safetensors")
    served = ("news_encoder.", "user_encoder.")
    assert result["parameters"] == sum(
        value.numel() for name, value in weights.items() if name.startswith(served)
    )
    assert result["news_per_second"] > 0
    assert result["environment"]["recbole_tinynews"] == recbole_tinynews.__version__

    dump = rows_of(tmp_path / "out" / "dump.csv")
    assert list(dump[0]) == ["impression_id", "auc", "mrr", "ndcg@5", "ndcg@10"]
    assert [row["impression_id"] for row in dump] == [f"test-{row}" for row in range(14)]
    assert [row["impression_id"] for row in dump if row["auc"] == ""] == ["test-1", "test-2"]
    for metric in METRICS - {"impressions", "skipped"}:
        values = [float(row[metric]) for row in dump if row[metric]]
        assert np.mean(values) == pytest.approx(result["test"][metric], abs=1e-6)


def test_a_run_ends_with_the_stage_that_was_asked_for(tiny: Tiny) -> None:
    """A user who wants only the teachers should not pay for a student, but get all of them."""
    settings = tiny.settings("TinyNewsRec")
    post_trained, student, *finetuned, _ = FOUR_STAGES
    there: set[str] = set()  # stages saved by the runs before
    for stage, made, tested in (
        (post_trained, [post_trained], False),
        (student, [post_trained, student], False),
        (finetuned[0], [post_trained, *finetuned], True),  # no Stage I: teachers don't depend on it
    ):
        result = run("TinyNewsRec", DATASET, config_dict={**settings, "stage": stage})
        assert [s["name"] for s in result["stages"]] == made
        assert [s["reused"] for s in result["stages"]] == [name in there for name in made]
        assert bool(result["test"]) == tested
        assert "teachers" not in result
        there |= {*made}
    whole = run("TinyNewsRec", DATASET, config_dict=settings)
    assert [s["reused"] for s in whole["stages"]] == [True] * 4 + [False]


def test_a_setting_of_a_stage_that_the_system_lacks_is_said(
    tiny: Tiny, caplog: pytest.LogCaptureFixture
) -> None:
    """Teachers of a recommender without teachers would seem to train longer."""
    given = tiny.settings("PLMNR", finetune_teacher_epochs=3, max_steps=1)
    with prepared(NewsConfig("PLMNR", DATASET, config_dict=given)):
        assert "finetune_teacher_epochs: PLMNR has no stage finetune_teacher" in caplog.text


def test_a_run_may_end_with_a_masked_language_model(tiny: Tiny) -> None:
    """It ranks no articles, and has a loss where others have metrics of impressions."""
    settings = tiny.settings("PLMNRTAPT", stage="pretrain_teacher")
    result = run("PLMNRTAPT", DATASET, config_dict=settings)
    assert [s["name"] for s in result["stages"]] == ["pretrain_teacher"]
    assert result["test"] == {}
    assert result["valid"].keys() == {"held_out_loss", "accuracy", "tokens"}


@pytest.mark.whole
def test_a_full_disk_ends_a_run_with_one_line_and_costs_no_finished_stage(
    tiny: Tiny, monkeypatch, capsys
) -> None:
    """Hours of post-training would be lost to a disk that could be cleared in a minute."""
    plain = weights.save_file

    def full(tensors, file, metadata) -> None:
        if "finetune_teacher" in str(file):
            raise SafetensorError("No space left on device (os error 28)")
        plain(tensors, file, metadata)

    arguments = [*flags(tiny, "TinyNewsRec"), "--model=TinyNewsRec", f"--dataset={DATASET}"]
    with monkeypatch.context() as patch:
        patch.setattr(weights, "save_file", full)
        with pytest.raises(SystemExit) as exit_:
            main(arguments)
    assert exit_.value.code == 1
    error = capsys.readouterr().err
    assert "No space left on device" in error
    assert "Finished stages are kept" in error
    assert "Traceback" not in error
    assert [s["reused"] for s in main(arguments)["stages"]] == [True, True, False, False, False]


def test_the_command_line_reads_its_flags(tiny: Tiny, monkeypatch) -> None:
    arguments = [*flags(tiny, "PLMNR", max_steps=1), "-m", "PLMNR", f"--dataset={DATASET}"]
    monkeypatch.setattr(sys, "argv", ["run_recbole.py", *arguments])
    assert main()["model"] == "PLMNR"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("--news_pooling=maximum", "news_pooling"),
        ("--dataset=nowhere", "does not exist"),
        ("--plm=package:no_such_package", "pip install"),
        ("--num_hidden_layers=9", "has 3 layers"),
        ("--model=BPR", "its recbole.quick_start.run_recbole"),
    ],
)
def test_a_mistake_ends_with_its_message_alone(tiny: Tiny, capsys, wrong, message) -> None:
    """A traceback hides the one line that helps."""
    right = [*flags(tiny, "PLMNR"), "--model=PLMNR", f"--dataset={DATASET}"]
    name = wrong.partition("=")[0]
    arguments = [*(flag for flag in right if not flag.startswith(f"{name}=")), wrong]
    if "BPR" in wrong:  # it has none of the news recommenders' settings
        arguments = [wrong, "--dataset=ml-100k"]
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize("labels", ["none", "no file"])
def test_a_run_ends_well_with_a_test_set_without_labels(
    tiny: Tiny, tmp_path, caplog, labels
) -> None:
    """MIND-large's test set has none, and a run must not fail after days of training."""
    data = write_dataset(tmp_path / "unlabelled", labelled_test=False)
    if labels == "no file":
        (data / DATASET / f"{DATASET}.test.inter").unlink()
    caplog.set_level(logging.WARNING)
    settings = tiny._replace(data=data).settings(
        max_steps=1, result_file="result.json", eval_dump="dump.csv"
    )
    result = run("PLMNR", DATASET, config_dict=settings)
    assert "no labelled test impressions" in caplog.text
    written = json.loads((tmp_path / "result.json").read_text())
    assert written["valid"].keys() == METRICS
    if labels == "no file":
        assert result["test"] == written["test"] == {}
    else:
        assert (result["test"]["impressions"], result["test"]["skipped"]) == (0, 14)
        assert math.isnan(result["test"]["auc"])
        assert written["test"]["auc"] is None  # json has no NaN
        assert len(rows_of(tmp_path / "dump.csv")) == 14


def test_the_best_weights_are_tested(tiny: Tiny, monkeypatch) -> None:
    """If both were kept in one place, the last epoch's would be tested."""
    scores, plain = iter([0.9, 0.5, 0.1]), NewsTrainer._valid_epoch

    def best_first(*given: Any, **named: Any) -> tuple[float, dict]:
        return next(scores), plain(*given, **named)[1]

    monkeypatch.setattr(NewsTrainer, "_valid_epoch", best_first)
    settings = tiny.settings(epochs=3, learning_rate=0.05)
    first, again = (run("PLMNR", DATASET, config_dict=settings) for _ in range(2))
    assert [first["stages"][0]["reused"], again["stages"][0]["reused"]] == [False, True]
    assert again["test"] == first["test"]


@pytest.mark.parametrize("model", ["Pop", "DeepFM", "SASRec"])
def test_recboles_own_models_leave_the_same_result(tiny: Tiny, tmp_path: Path, model: str) -> None:
    """Tables read one kind of file, and would leave out a baseline with another."""
    settings = tiny.stock_settings(result_file="result.json", eval_dump="dump.csv")
    result = run(model, DATASET, config_dict=settings)
    assert list(result) == KEYS
    assert json.loads((tmp_path / "result.json").read_text()) == as_json(result)
    assert result["news_per_second"] is None  # it encodes none
    assert (result["parameters"] == 0) == (model == "Pop")
    for split in ("valid", "test"):
        assert result[split].keys() == METRICS
        assert (result[split]["impressions"], result[split]["skipped"]) == (12, 2)
    dump = rows_of(tmp_path / "dump.csv")
    assert [row["impression_id"] for row in dump] == [f"test-{row}" for row in range(14)]
    (stage,) = result["stages"]
    folder = tmp_path / "saved" / DATASET / f"{model}-{stage['fingerprint']}"
    assert {path.name for path in folder.iterdir()} == {
        *("model.safetensors", "settings.yaml", "metrics.json"),
        "tensorboard",
    }
    again = run(model, DATASET, config_dict=settings)
    assert again["stages"][0]["reused"]
    assert again["test"] == result["test"]
    other = run(model, DATASET, config_dict={**settings, "history_length": 2})
    assert not other["stages"][0]["reused"]


@pytest.mark.parametrize("model", ["PLMNR", "Pop", "CategoryMatch"])
def test_recboles_metrics_stand_beside_minds_in_results_and_dump(tiny: Tiny, model: str) -> None:
    """Asked for by RecBole's settings, they must be there, and be what chose the best epoch."""
    settings = tiny.stock_settings() if model == "Pop" else tiny.settings(model)
    asked = {
        "metrics": ["AUC", "Recall", "MAP", "GAUC"],
        "topk": [1, 3],
        "valid_metric": "recall@3",
        "eval_dump": "dump.csv",
    }
    result = run(model, DATASET, config_dict={**settings, **asked})
    named = {"auc", "recall@1", "recall@3", "map@1", "map@3"}
    for split in ("valid", "test", "test_cold"):
        assert result[split].keys() == {*named, "gauc", "impressions", "skipped"}
    dump = rows_of(Path("dump.csv"))
    always = ["impression_id", "auc", "mrr", "ndcg@1", "ndcg@3"]
    assert list(dump[0]) == [*always, "recall@1", "recall@3", "map@1", "map@3"]
    for metric in named:
        values = [float(row[metric]) for row in dump if row[metric]]
        assert len(values) == 12
        assert np.mean(values) == pytest.approx(result["test"][metric], abs=1e-6)

    # what is only shown beside changes no weights: nothing is trained again
    other = {**asked, "metrics": ["AUC", "Recall", "Hit"], "topk": [3]}
    again = run(model, DATASET, config_dict={**settings, **other})
    assert [stage["reused"] for stage in again["stages"]] == [True]
    assert again["test"].keys() == {"auc", "recall@3", "hit@3", "impressions", "skipped"}
    validated = {**asked, "valid_metric": "AUC"}
    assert not run(model, DATASET, config_dict={**settings, **validated})["stages"][0]["reused"]


def test_gauc_has_the_users_of_the_data_set(tiny: Tiny) -> None:
    """Users of other rows, or none, would give a number that looks as good."""
    asked = {"metrics": ["AUC", "GAUC"]}
    result = run("CategoryMatch", DATASET, config_dict={**tiny.settings("CategoryMatch"), **asked})
    config = tiny.config("CategoryMatch")
    train, _, test = NewsDataset(config).build()
    loader = ImpressionDataLoader(config, test)
    batch, shown = loader.collate_impressions(np.arange(len(test))), test.inter_feat
    scores = CategoryMatch(config, train).predict(batch).numpy()
    scored = ScoredImpressions(scores, shown.labels, shown.candidates.offsets, shown.user)
    assert result["test"]["gauc"] == pytest.approx(gauc(scored), abs=1e-6)
    assert result["test"]["gauc"] != result["test"]["auc"]


@pytest.mark.whole
def test_a_teacher_is_tested_again_for_a_metric_that_it_was_not_tested_by(tiny: Tiny) -> None:
    """Its kept result has no Recall: the table at the end would fail after all trainings."""
    settings = tiny.settings("TinyNewsRec")
    run("TinyNewsRec", DATASET, config_dict=settings)
    again = run("TinyNewsRec", DATASET, config_dict={**settings, "metrics": ["AUC", "Recall"]})
    assert all(stage["reused"] for stage in again["stages"])
    assert all({"recall@5", "auc"} <= test.keys() for test in again["teachers"]["test"])


def test_a_users_subclass_of_a_recbole_model_runs_too(tiny: Tiny) -> None:
    from recbole.model.general_recommender.bpr import BPR

    mine = type("Mine", (BPR,), {"__module__": "__nowhere__"})
    result = run(mine, DATASET, config_dict=tiny.stock_settings(embedding_size=4))
    assert result["model"] == "Mine"
    assert result["test"].keys() == METRICS


@pytest.mark.parametrize("model", ["PLMNR", "Pop", "SASRec"])
def test_cold_impressions_are_reported_apart(tiny: Tiny, tmp_path: Path, caplog, model) -> None:
    """A popularity model that is good overall may know nothing about new articles."""
    settings = tiny.settings(max_steps=1) if model == "PLMNR" else tiny.stock_settings()
    caplog.set_level(logging.INFO)
    result = run(model, DATASET, config_dict={**settings, "eval_dump": "dump.csv"})

    def clicked(split: str) -> dict[str, set[str]]:
        """The clicked articles of each impression in the file."""
        lines = (tiny.data / DATASET / f"{DATASET}.{split}.inter").read_text().splitlines()[1:]
        rows = [line.split("\t") for line in lines]
        return {
            name: {n for n, label in zip(news.split(), labels.split(), strict=True) if label == "1"}
            for name, _, _, _, news, labels in rows
        }

    known = set().union(*clicked("train").values())
    cold = {name for name, news in clicked("test").items() if news and not news & known}
    rows = [row for row in rows_of(tmp_path / "dump.csv") if row["impression_id"] in cold]
    evaluated = [row for row in rows if row["auc"]]
    assert result["test_cold"].keys() == METRICS
    assert 0 < len(evaluated) < result["test"]["impressions"]
    assert result["test_cold"]["impressions"] == len(evaluated)
    assert result["test_cold"]["skipped"] == len(rows) - len(evaluated)
    for metric in METRICS - {"impressions", "skipped"}:
        by_hand = np.mean([float(row[metric]) for row in evaluated])
        assert result["test_cold"][metric] == pytest.approx(by_hand, abs=1e-6)
    assert "clicked news cold" in caplog.text


@pytest.mark.parametrize("setting", ["result_file", "eval_dump", "submission", "checkpoint_dir"])
def test_a_place_that_cannot_be_written_is_refused_before_any_training(
    tiny: Tiny, tmp_path: Path, setting: str
) -> None:
    """The results of hours were lost, since their file lay under a file or in a missing place."""
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "below.zip"
    with pytest.raises(ValueError, match=f"{setting} expects a place that can be written"):
        run("PLMNR", DATASET, config_dict=tiny.settings(**{setting: str(place)}))
    assert not (tmp_path / "saved").exists() or not list(
        (tmp_path / "saved").rglob("*.safetensors")
    )


@pytest.mark.parametrize("stop", [1, 3])
def test_ctrl_c_ends_with_what_is_kept_and_the_command_to_resume(
    tiny: Tiny, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    """It ended in a traceback of forty lines, and nobody knew whether to start again."""
    begun: list[str] = []
    train = Run._train

    def stopped(self: Run, recipe: Recipe) -> Any:
        begun.append(recipe.stage.name)
        if len(begun) == stop:
            raise KeyboardInterrupt
        return train(self, recipe)

    monkeypatch.setattr(Run, "_train", stopped)
    given = ["--model=TinyNewsRec", f"--dataset={DATASET}", "--fresh", "--text_prefix=a b"]
    given += flags(tiny, "TinyNewsRec")
    with pytest.raises(SystemExit) as ended:
        main(given)
    assert ended.value.code == 130
    (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
    kept = "post_train_teacher (finished), post_train_student (finished)" if stop == 3 else ""
    assert (f": {kept}. To resume: " if kept else "nothing is kept. To resume: ") in line
    assert "--fresh" not in line  # it would train again what is kept
    assert "'--text_prefix=a b'" in line
    assert f"--num_teachers={tiny.settings('TinyNewsRec')['num_teachers']}" in line


def test_ctrl_c_in_a_stage_tells_the_step_that_it_resumes_from(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host program sees a KeyboardInterrupt, as for any other."""
    update = NewsTrainer._update

    def stopped(self: NewsTrainer) -> None:
        update(self)
        if self.step == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(NewsTrainer, "_update", stopped)
    with pytest.raises(KeyboardInterrupt, match=r"PLMNR \(up to step 2\)"):
        run("PLMNR", DATASET, config_dict=tiny.settings(save_steps=2))


def test_a_saved_validation_has_no_metrics_of_ones_own_that_may_change(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test would have a new definition, and the reused validation beside it the old one."""
    monkeypatch.setattr(runs, "is_own", lambda name: name in ("mrr", "auc"))
    run("PLMNR", DATASET, config_dict=tiny.settings("PLMNR"))
    (folder,) = (tmp_path / "saved" / DATASET).glob("PLMNR-*")
    valid = read_metrics(folder)["valid"]
    assert "auc" in valid  # that of `valid_metric` is in the fingerprint
    assert "mrr" not in valid


def test_a_saved_test_result_has_no_metrics_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version of the function would find the values of this one."""
    monkeypatch.setattr(outcome, "is_own", lambda name: name == "mine")
    write_metrics(tmp_path, {"valid": {}})
    outcome._keep(Artifact("PLMNR", "mark", tmp_path, 1.0, {}), "data", {"auc": 0.6, "mine": 0.5})
    assert saved_test_result(read_metrics(tmp_path), "data") == {"auc": 0.6}
