"""The code of docs/extending.md, run as it stands there."""

from __future__ import annotations

import csv
import importlib.util
import json
import re
import runpy
import sys
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import numpy as np
import pytest
import torch
import yaml
from test_contract import (  # noqa: F401  # collected here too, with the fixtures below
    model,
    test_a_score_ignores_how_far_the_history_is_padded,
    test_a_score_ignores_the_order_of_the_candidates,
    test_a_score_ignores_the_other_impressions_of_its_batch,
    test_a_user_without_history_gets_a_ranking,
    test_every_candidate_of_whole_impressions_gets_one_score,
    test_the_table_of_news_vectors_changes_no_score,
    test_vectors_of_earlier_weights_are_never_used,
    test_what_is_ranked_is_what_was_trained,
)
from tiny import DATASET, Tiny, World, scalars

import recbole_tinynews
from recbole_tinynews.__main__ import main as package_main
from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.evaluation.metrics import auc, rank_impressions
from recbole_tinynews.evaluation.recbole_metrics import METRICS
from recbole_tinynews.files.tensors import load_weights
from recbole_tinynews.pipeline.config import NewsConfig
from recbole_tinynews.pipeline.quick_start import run
from recbole_tinynews.pipeline.stage import in_order
from recbole_tinynews.pipeline.systems import system
from recbole_tinynews.serving.loading import load

DOCUMENT = Path(recbole_tinynews.__file__).parent.parent / "docs" / "extending.md"
TEACHERS = [
    *("post_train_teacher", "post_train_student"),
    *("finetune_teacher", "finetune_teacher"),
]

if not DOCUMENT.is_file():
    pytest.skip("an installation from a wheel has no docs", allow_module_level=True)


def write_files(folder: Path) -> None:
    """Write every fenced block that starts with a file name in a comment to that file."""
    text = DOCUMENT.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(?:python|yaml)\n# (\S+)\n(.*?)^```$", text, re.M | re.S)
    assert [name for name, _ in blocks] == [
        *("my_recommender.py", "MyRecommender.yaml", "small_nrms.py", "SmallNRMS.yaml"),
        "popular.py",
        *("category_first.py", "stage/learn_categories.yaml", "my_metrics.py"),
    ]
    for name, content in blocks:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")


def module_of(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str = "my_recommender"
) -> ModuleType:
    """A module of the document, imported as its user would."""
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type:
    """The recommender class of the document."""
    write_files(tmp_path)
    return module_of(tmp_path, monkeypatch).MyRecommender


@pytest.fixture
def world(documented: type, tiny: Tiny) -> World:
    """The documented recommender, for the tests of the contract."""
    return tiny.world(documented, max_text_length=24)


def losses_of(run_folder: Path) -> set[str]:
    """Names of the losses whose values over the steps a run saved."""
    tags = [tag.split("/") for tag in scalars(run_folder / "tensorboard")]
    return {tag[-1] for tag in tags if tag[1:2] == ["train"]}


def test_a_student_by_words_has_teachers_by_language_models(tiny: Tiny, tmp_path, monkeypatch):
    """NRMS's own settings hold for teachers too: they would read words, and teach nothing new."""
    write_files(tmp_path)
    documented = module_of(tmp_path, monkeypatch, "small_nrms").SmallNRMS
    settings = tiny.settings("TinyNewsRec")
    del settings["head_init"]
    config = NewsConfig(documented, DATASET, config_dict=settings)
    assert [stage.name for stage in in_order(system(config))] == [*TEACHERS, "SmallNRMS"]
    read = {name: config.for_stage(name)["news_encoder"] for name in (*TEACHERS, "SmallNRMS")}
    assert read == {
        "post_train_teacher": "plm",
        "finetune_teacher": "plm",
        "post_train_student": "words",
        "SmallNRMS": "words",
    }
    starts = {name: config.for_stage(name)["head_init"] for name in read}
    assert starts["post_train_teacher"] == starts["finetune_teacher"] == "pretrained"


@pytest.mark.whole
def test_the_document_runs_and_its_student_has_the_teachers_that_were_there(
    tiny: Tiny, tmp_path, monkeypatch, capsys
) -> None:
    """Users copy this code first: if it failed, nothing of the package would seem to work."""
    settings = {**tiny.settings("TinyNewsRec"), "max_steps": 2}
    del settings["num_teachers"]  # set by the document's yaml
    plain = run("TinyNewsRec", DATASET, config_dict={**settings, "num_teachers": 2})
    write_files(tmp_path)

    def command(*more: str) -> dict:
        """``python my_recommender.py --dataset=...``."""
        flags = {**settings, "dataset": DATASET, "result_file": "result.json"}
        arguments = [f"--{name}={value}" for name, value in flags.items()]
        monkeypatch.setattr(sys, "argv", ["my_recommender.py", *arguments, *more])
        runpy.run_path("my_recommender.py", run_name="__main__")
        return json.loads(Path("result.json").read_text())

    result = command("--max_text_length=24", "--submission=mine.zip")
    assert "'auc': " in capsys.readouterr().out
    assert Path("mine.zip").is_file()
    stages = [(stage["name"], stage["reused"]) for stage in result["stages"]]
    assert stages == [*((name, True) for name in TEACHERS), ("MyRecommender", False)]
    marks = [[stage["fingerprint"] for stage in each["stages"][:-1]] for each in (plain, result)]
    assert marks[0] == marks[1]
    folder = next(Path("saved", DATASET).glob("MyRecommender-*"))
    losses = ("distillation", "embedding", "target", "category")
    assert {f"{name}_loss" for name in losses} <= losses_of(folder)
    with pytest.raises(ValueError, match=r"not imported.*recbole-tinynews --import my_recommender"):
        load(folder)
    monkeypatch.setattr(sys, "argv", ["", "--import", "my_recommender", "--version"])
    package_main()
    titles = [{"title": "word1 word2", "abstract": text} for text in ("", "word3 word4")]
    assert len({each.score for each in load(folder).rank(["word3"], titles)}) == 2

    # another weight of its loss gives another student with the same teachers
    again = command("--max_text_length=24", "--category_loss_weight=0.5")
    assert [stage["reused"] for stage in again["stages"]] == [*[True] * 4, False]
    reused = command("--max_text_length=24", "--category_loss_weight=0.5")
    assert all(stage["reused"] for stage in reused["stages"])


# ----------------------------------------------------------------------- a stage of one's own


@pytest.fixture
def category_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type:
    """The class of the document that has a stage of its own."""
    write_files(tmp_path)
    return module_of(tmp_path, monkeypatch, "category_first").CategoryFirst


def test_a_ranker_without_a_language_model_needs_predict_alone(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its user has no yaml, no trainer and no loss: the documented class must run as it stands."""
    write_files(tmp_path)
    popular = module_of(tmp_path, monkeypatch, "popular").Popular
    result = run(popular, DATASET, config_dict=tiny.settings(popular))
    assert (result["model"], result["parameters"]) == ("Popular", 0)
    train, _, test = NewsDataset(tiny.config(popular)).build()
    clicks = np.array([train.item_counter[news] for news in range(train.item_num)])
    shown = test.inter_feat
    ranked = rank_impressions(
        clicks[shown.candidates.values], shown.labels, shown.candidates.offsets
    )
    assert result["test"]["auc"] == pytest.approx(auc(ranked).mean(), abs=1e-6)


def test_a_recommender_outside_the_package_has_a_stage_of_its_own(
    category_first: type, tiny: Tiny
) -> None:
    """Its stages would be those of its base, and the documented warm-up would never run."""
    settings = tiny.settings(max_steps=2, learn_categories_max_steps=3)
    result = run(category_first, DATASET, config_dict=settings)
    names = [stage["name"] for stage in result["stages"]]
    assert names == ["learn_categories", "CategoryFirst"]
    before = next(Path("saved", DATASET).glob("learn_categories-*"))
    assert losses_of(before) == {"category_loss"}
    written = yaml.safe_load((before / "settings.yaml").read_text())
    assert (written["learning_rate"], written["epochs"], written["max_steps"]) == (1e-3, 1, 3)

    # what the stage has a value of its own for is the last stage's alone; other settings are shared
    for changed, reused in (({"max_steps": 1}, True), ({"negatives": 2}, False)):
        again = run(category_first, DATASET, config_dict={**settings, **changed})
        assert [stage["reused"] for stage in again["stages"]] == [reused, False]
    part = run(category_first, DATASET, config_dict={**settings, "stage": "learn_categories"})
    assert [(stage["name"], stage["reused"]) for stage in part["stages"]] == [(names[0], True)]


def test_its_last_stage_starts_with_what_its_own_stage_has_learnt(
    category_first: type, tiny: Tiny
) -> None:
    """With a rate of 0 it ends with what it started with: a hand-over that is lost would show."""
    rates = {"learning_rate": 1e-60, "plm_learning_rate": 0.0}
    own = {f"learn_categories_{name}": 1e-2 for name in rates}
    run(category_first, DATASET, config_dict=tiny.settings(max_steps=3, **rates, **own))
    before, last = (
        load_weights(next(Path("saved", DATASET).glob(f"{name}-*")) / "model.safetensors")
        for name in ("learn_categories", "CategoryFirst")
    )
    encoder = [name for name in last if name.startswith("news_encoder.")]
    assert encoder
    assert all(torch.equal(last[name], before[name]) for name in encoder)
    assert "head.weight" in before
    plain = tiny.world("PLMNR", **rates).model.state_dict()
    assert not all(torch.equal(last[name], plain[name]) for name in encoder)


# ----------------------------------------------------------------------- a metric of one's own


def test_the_documented_metrics_are_computed_dumped_and_validated_on(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its user has one function, and no class of RecBole to read."""
    write_files(tmp_path)
    settings = {
        **tiny.settings(epochs=2, max_steps=None),
        "dataset": DATASET,
        "model": "PLMNR",
        "metrics": "[AUC, Recall, upper_half, missed]",
        "topk": "[2]",
        "valid_metric": "missed@2",
        "result_file": "result.json",
        "eval_dump": "dump.csv",
    }
    flags = [f"--{name}={'~' if value is None else value}" for name, value in settings.items()]
    monkeypatch.setattr(sys, "argv", ["my_metrics.py", *flags])
    with patch.dict(METRICS):
        runpy.run_path("my_metrics.py", run_name="__main__")
    result = json.loads(Path("result.json").read_text())
    assert {"auc", "recall@2", "upper_half", "missed@2"} <= result["test"].keys()
    with Path("dump.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    data = tiny.data / DATASET / f"{DATASET}.test.inter"
    with data.open(encoding="utf-8", newline="") as file:
        clicks = {
            row[0]: row[5].split().count("1")
            for row in list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]
        }
    for row in rows:  # an identity between two metrics of one list
        if row["recall@2"]:
            found = float(row["recall@2"]) * clicks[row["impression_id"]]
            assert float(row["missed@2"]) == pytest.approx(clicks[row["impression_id"]] - found)
    values = [float(row["missed@2"]) for row in rows]
    assert result["test"]["missed@2"] == pytest.approx(np.mean(values), abs=1e-6)
    folder = next(Path("saved", DATASET).glob("PLMNR-*"))
    validated = scalars(folder / "tensorboard")["PLMNR/valid/missed@2"]
    assert len(validated) == 2
    least = min(value for _, value in validated)
    assert result["valid"]["missed@2"] == pytest.approx(least)  # smaller is better
