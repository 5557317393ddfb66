from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import DATASET, Tiny, run_of, write_dataset

from recbole_tinynews.encoder.text_encoder import TextEncoder
from recbole_tinynews.pipeline import artifact as artifact_module
from recbole_tinynews.pipeline import outcome
from recbole_tinynews.pipeline.artifact import read_metrics, write_metrics
from recbole_tinynews.pipeline.outcome import news_per_second, oracle_of, summary
from recbole_tinynews.pipeline.quick_start import run

TEST = {"auc": 0.6, "mrr": 0.3, "ndcg@5": 0.31, "ndcg@10": 0.37, "impressions": 9, "skipped": 1}
RESULT: dict[str, Any] = {
    "model": "TinyNewsRec",
    "test": TEST,
    "parameters": 15_840_000,
    "news_per_second": 1234.5,
}


def teachers(*aucs: float) -> dict[str, Any]:
    tests = [{**TEST, "auc": auc, "mrr": 1 - auc} for auc in aucs]
    return {"test": tests, "parameters": 109_000_000, "news_per_second": 98.7}


def test_the_summary_lists_student_teachers_and_oracle() -> None:
    """A student's loss is told beside what it learnt from, and what could be reached."""
    result = {**RESULT, "teachers": teachers(0.7, 0.65)}
    assert summary(result, {"auc": 0.8, "mrr": 0.53, "ndcg@5": 0.6, "ndcg@10": 0.64}) == (
        "                     auc     mrr  ndcg@5  ndcg@10   parameters  news per second\n"
        "2 teachers, mean  0.6750  0.3250  0.3100   0.3700  109,000,000               99\n"
        "TinyNewsRec       0.6000  0.3000  0.3100   0.3700   15,840,000            1,234\n"
        "oracle            0.8000  0.5300  0.6000   0.6400"
    )


def test_what_is_missing_has_no_line() -> None:
    """A single teacher has no mean over teachers, and most data sets have no oracle."""
    one = summary({**RESULT, "teachers": teachers(0.7)}, {}).splitlines()
    assert [line.split("  ")[0] for line in one[1:]] == ["teacher", "TinyNewsRec"]
    alone = summary({**RESULT, "model": "PLMNR"}, {}).splitlines()
    assert [line.split("  ")[0] for line in alone[1:]] == ["PLMNR"]
    untested = summary({**RESULT, "test": {}, "teachers": teachers()}, {"auc": 0.8}).splitlines()
    assert untested[0].split() == ["parameters", "news", "per", "second"]
    assert [line.split()[0] for line in untested[1:]] == ["teachers", "TinyNewsRec"]


def test_the_oracle_is_read_where_the_data_set_has_one(tmp_path: Path) -> None:
    assert oracle_of(tmp_path / "tiny") == {}
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "tiny.oracle.json").write_text(json.dumps({"test": {"auc": 0.8}}))
    assert oracle_of(tmp_path / "tiny") == {"auc": 0.8}


def test_speed_is_that_of_all_layers_and_leaves_the_encoder_as_it_was(
    tiny: Tiny, monkeypatch
) -> None:
    """Vectors or states read from a table would make a 12-layer model look like a small one."""
    encoder = tiny.world(use_cache=True).model.news_encoder.train()
    encoder(torch.tensor([1, 2, 3]))
    layers: list[int] = []
    plain = TextEncoder.encode_frozen

    def counted(self: TextEncoder, *arguments: object) -> object:
        layers.append(1)
        return plain(self, *arguments)

    monkeypatch.setattr(TextEncoder, "encode_frozen", counted)
    assert news_per_second(encoder) > 0
    assert len(layers) >= 4  # a warm-up and three runs
    assert encoder.training
    assert encoder.storage is not None


@pytest.fixture
def tested(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collects the names of the systems that are evaluated on the test impressions."""
    names: list[str] = []
    plain = outcome._evaluate

    def watched(factory: Any, config: Any, model: Any, *files: Any) -> Any:
        names.append(type(model).__name__)
        return plain(factory, config, model, *files)

    monkeypatch.setattr(outcome, "_evaluate", watched)
    return names


@pytest.fixture
def trained(all_four_stages: Path) -> None:
    """Put a trained Tiny-NewsRec, not yet evaluated on the test set, where a run finds it."""
    shutil.copytree(all_four_stages, "saved")


@pytest.mark.usefixtures("trained")
def test_a_teacher_is_tested_once(tiny: Tiny, tmp_path: Path, tested, caplog) -> None:
    """Every student of a benchmark would evaluate its large teachers again."""
    caplog.set_level(logging.INFO)
    settings = tiny.settings("TinyNewsRec", eval_dump="dump.csv")
    first = run("TinyNewsRec", DATASET, config_dict=settings)
    assert tested == ["TinyNewsRec", "PLMNR", "PLMNR"]
    assert "2 teachers, mean" in caplog.text
    dump = (tmp_path / "dump.csv").read_text()
    again = run("TinyNewsRec", DATASET, config_dict=settings)
    assert tested == ["TinyNewsRec", "PLMNR", "PLMNR", "TinyNewsRec"]
    assert again["teachers"]["test"] == first["teachers"]["test"]
    assert (tmp_path / "dump.csv").read_text() == dump  # the student's, not a teacher's
    config = tiny.config("TinyNewsRec")
    this_run = run_of(config)
    for stage, result in zip(first["stages"][2:4], first["teachers"]["test"], strict=True):
        folder = tmp_path / "saved" / DATASET / f"finetune_teacher-{stage['fingerprint']}"
        kept = json.loads((folder / "metrics.json").read_text())
        assert kept["test"] == result
        assert kept["test_data"] == this_run.factory.dataset.content
        assert kept["valid"].keys() == result.keys()
    assert first["teachers"]["test"][0] != first["teachers"]["test"][1]
    assert first["teachers"]["parameters"] > first["parameters"]  # they have all layers


@pytest.mark.usefixtures("trained")
def test_a_result_of_other_test_impressions_is_not_reused(tiny: Tiny, tested) -> None:
    """Otherwise the table would compare teachers and student on different data."""
    settings = tiny.settings("TinyNewsRec")
    first = run("TinyNewsRec", DATASET, config_dict=settings)
    for folder in Path("saved", DATASET).glob("finetune_teacher-*"):
        metrics = read_metrics(folder)
        content, result = metrics["test_data"], metrics["test"]
        others = {"test_data": "another", "test": {**result, "auc": 9.0}}
        write_metrics(folder, {**metrics, **others})
    again = run("TinyNewsRec", DATASET, config_dict=settings)
    assert tested.count("PLMNR") == 4
    assert again["teachers"]["test"] == first["teachers"]["test"]
    kept = read_metrics(folder)
    assert kept["test_data"] == content
    assert kept["test"] in again["teachers"]["test"]


@pytest.mark.usefixtures("trained")
def test_a_read_only_teacher_costs_no_result(tiny: Tiny, tested, monkeypatch, caplog) -> None:
    """A read-only teacher must not stop the run before the student's result is written."""

    def refused(*arguments: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(artifact_module.Artifact, "save_test_result", refused)
    result = run("TinyNewsRec", DATASET, config_dict=tiny.settings("TinyNewsRec"))
    assert len(result["teachers"]["test"]) == 2
    assert "will be tested again the next time: read-only" in caplog.text


@pytest.mark.usefixtures("trained")
def test_teachers_are_not_tested_without_labels(tiny: Tiny, tmp_path: Path, tested, caplog) -> None:
    """MIND-large's test set has none: evaluating would take hours and give NaN."""
    caplog.set_level(logging.INFO)
    data = write_dataset(tmp_path / "unlabelled", labelled_test=False)
    settings = tiny._replace(data=data).settings("TinyNewsRec", result_file="result.json")
    result = run("TinyNewsRec", DATASET, config_dict=settings)
    assert "PLMNR" not in tested
    assert result["teachers"]["test"] == []
    assert json.loads(Path("result.json").read_text())["teachers"]["parameters"] > 0


def test_a_recommender_without_teachers_has_none_in_its_result(
    tiny: Tiny, tmp_path: Path, tested, caplog
) -> None:
    """The oracle of its data set is still shown."""
    caplog.set_level(logging.INFO)
    data = write_dataset(tmp_path / "synthetic")
    oracle = data / DATASET / f"{DATASET}.oracle.json"
    oracle.write_text(json.dumps({"test": {"auc": 0.8765}}))
    settings = tiny._replace(data=data).settings(max_steps=1)
    result = run("PLMNR", DATASET, config_dict=settings)
    assert "oracle  0.8765" in caplog.text
    assert "teachers" not in result
    assert tested == ["PLMNR"]
