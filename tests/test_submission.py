"""``--submission``, from a run to the file that the leaderboard takes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from board import assert_accepted
from tiny import DATASET, Tiny, write_dataset

from recbole_tinynews.__main__ import run_recbole as main
from recbole_tinynews.convert import convert_news
from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.evaluation.metrics import auc, mrr, ndcg, rank_impressions
from recbole_tinynews.pipeline.quick_start import run
from tools.mind_mini import Settings, generate


def ranks_of(path: Path) -> dict[str, list[int]]:
    with ZipFile(path) as archive:
        lines = archive.read("prediction.txt").decode().splitlines()
    return {name: json.loads(ranks) for name, ranks in (line.split() for line in lines)}


def test_a_labelled_test_set_scores_through_its_submission_as_the_run_did(
    tiny: Tiny, tmp_path
) -> None:
    """Else the ranks may belong to other scores or impressions than the reported metrics."""
    settings = tiny.settings(max_steps=2)
    result = run("PLMNR", DATASET, config_dict=settings, command_line=["--submission=out/a.zip"])
    submitted = ranks_of(tmp_path / "out" / "a.zip")
    test = NewsDataset(tiny.config()).build()[2].inter_feat
    assert list(submitted) == [f"test-{row}" for row in range(14)]
    ranks = np.concatenate([np.array(each, float) for each in submitted.values()])
    ranked = rank_impressions(1 / ranks, test.labels, test.candidates.offsets)
    # random weights give no two candidates of an impression one score, so the AUC is equal too
    for name, values in (
        *(("auc", auc(ranked)), ("mrr", mrr(ranked))),
        *(("ndcg@5", ndcg(ranked, 5)), ("ndcg@10", ndcg(ranked, 10))),
    ):
        assert values.mean() == pytest.approx(result["test"][name], abs=1e-6)


@pytest.mark.parametrize("model", ["PLMNR", "TinyNewsRec"])
def test_the_same_command_ranks_an_unlabelled_test_set_without_training_again(
    tiny: Tiny, tmp_path, model
) -> None:
    """A submission is often decided later: it must not need the training again."""
    data = write_dataset(tmp_path / "unlabelled", labelled_test=False)
    settings = tiny._replace(data=data).settings(model, max_steps=1)
    first = run(model, DATASET, config_dict=settings)
    again = run(model, DATASET, config_dict=settings, command_line=["--submission=a.zip"])
    assert not any(stage["reused"] for stage in first["stages"])
    assert all(stage["reused"] for stage in again["stages"])
    test = NewsDataset(tiny._replace(data=data).config()).build()[2].inter_feat
    submitted = ranks_of(tmp_path / "a.zip")
    assert list(submitted) == test.impression_id.tolist()
    assert [len(ranks) for ranks in submitted.values()] == test.candidates.lengths.tolist()
    assert submitted["test-1"] == [1]  # one candidate


@pytest.mark.parametrize("model", ["BPR", "DeepFM", "GRU4Rec"])
def test_recboles_own_models_submit_too(tiny: Tiny, tmp_path, model: str) -> None:
    """Their rows are candidates: one too many or too few would shift all ranks after it."""
    data = write_dataset(tmp_path / "unlabelled", labelled_test=False)
    settings = tiny._replace(data=data).stock_settings(submission="a.zip")
    result = run(model, DATASET, config_dict=settings)
    assert result["test"]["impressions"] == 0
    test = NewsDataset(tiny._replace(data=data).config()).build()[2].inter_feat
    submitted = ranks_of(tmp_path / "a.zip")
    assert list(submitted) == test.impression_id.tolist()
    for ranks, size in zip(submitted.values(), test.candidates.lengths, strict=True):
        assert sorted(ranks) == list(range(1, size + 1))


def test_a_submission_for_converted_data_fits_minds_own_file(tiny: Tiny, tmp_path) -> None:
    """Ids, order and candidates must survive conversion, cache, batches and ranking."""
    generate(tmp_path / "raw", Settings(7, 500, 40, 60, test_impressions=50))
    behaviors = tmp_path / "raw" / "test" / "behaviors.tsv"
    behaviors.write_text(re.sub(r"-[01]\b", "", behaviors.read_text()))
    convert_news(tmp_path / "raw" / "train", "mind", test=behaviors.parent, output=tmp_path)
    settings = tiny._replace(data=tmp_path).settings(max_steps=1)
    run("PLMNR", "mind", config_dict={**settings, "submission": "a.zip"})
    rows = [line.split("\t") for line in behaviors.read_text().splitlines()]
    assert len(rows) == 50
    sizes = [len(row[4].split()) for row in rows]
    assert_accepted(tmp_path / "a.zip", [row[0] for row in rows], sizes)
    run("PLMNR", "mind", config_dict={**settings, "submission": "b.zip", "leaderboard": "ebnerd"})
    assert_accepted(tmp_path / "b.zip", [row[0] for row in rows], sizes, "predictions.txt")


NO_ZIP = "submission (command line) expects a file name that ends in .zip"


@pytest.mark.parametrize(
    ("model", "setting", "message"),
    [
        *((model, "--submission=out.txt", NO_ZIP) for model in ("PLMNR", "BPR")),
        *((model, "--submission=123", NO_ZIP) for model in ("PLMNR", "BPR")),
        *((model, "--submission=out.zip", "has no tiny.test.inter") for model in ("PLMNR", "BPR")),
        (
            "TinyNewsRec",
            "--submission=out.zip --stage=post_train_teacher",
            "expects a stage that ranks news",
        ),
    ],
)
def test_what_cannot_be_submitted_is_refused_before_the_training(
    tiny: Tiny, tmp_path, capsys, model, setting, message
) -> None:
    """Otherwise a user would learn of it after days of training."""
    data = write_dataset(tmp_path / "data")
    (data / DATASET / f"{DATASET}.test.inter").unlink()
    there = tiny._replace(data=data)
    settings = there.stock_settings() if model == "BPR" else there.settings(model, max_steps=1)
    flags = [f"--{name}={value}" for name, value in settings.items()]
    with pytest.raises(SystemExit):
        main([f"--model={model}", f"--dataset={DATASET}", *flags, *setting.split()])
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob(f"saved/{DATASET}/{model}-*"))
