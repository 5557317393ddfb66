from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from tiny import DATASET, Tiny

from recbole_tinynews.evaluation.recbole_metrics import METRICS
from recbole_tinynews.pipeline.config import NewsConfig

UNIFORM = {"distribution": "uniform", "sample_num": 2}


def config_of(tiny: Tiny, model: str | type, *flags: str, **settings) -> NewsConfig:
    places = {"data_path": str(tiny.data)}
    return NewsConfig(model, DATASET, config_dict={**places, **settings}, command_line=flags)


@pytest.fixture
def users_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type:
    """A class derived from RecBole's BPR, with a yaml beside its module."""
    (tmp_path / "users_bpr.py").write_text(
        "from recbole.model.general_recommender.bpr import BPR\nclass MyBPR(BPR):\n    pass\n"
    )
    (tmp_path / "MyBPR.yaml").write_text(
        "train_batch_size: 64\nhistory_length: 7\nmy_width: 3\n"
        "train_neg_sample_args: {distribution: uniform, sample_num: 4}\n"
    )
    spec = importlib.util.spec_from_file_location("users_bpr", tmp_path / "users_bpr.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "users_bpr", module)
    spec.loader.exec_module(module)
    return module.MyBPR


def test_the_yaml_of_a_users_class_overrides_that_of_the_package(
    tiny: Tiny, users_model: type
) -> None:
    """Its batches, histories and negatives would silently differ from what its file says."""
    config = config_of(tiny, users_model)
    assert (config["train_batch_size"], config["my_width"]) == (64, 3)
    assert config["history_length"] == config["MAX_ITEM_LIST_LENGTH"] == 7
    assert config["train_neg_sample_args"]["sample_num"] == 4
    assert (config["embedding_size"], config["eval_batch_size"]) == (64, 4096)  # BPR's, package's
    assert config_of(tiny, users_model, "--train_batch_size=9")["train_batch_size"] == 9


def test_a_mistake_in_the_yaml_of_a_users_class_names_the_file(
    tiny: Tiny, users_model: type, tmp_path: Path
) -> None:
    """RecBole would ignore a misspelt entry, and sample once."""
    file = tmp_path / "MyBPR.yaml"
    file.write_text("train_neg_sample_args: {sample_nmu: 4}\ntrain_batch_size: 0\n")
    with pytest.raises(ValueError, match="don't fit") as caught:
        config_of(tiny, users_model)
    assert f"train_neg_sample_args (file {file}) expects ~ or a distribution" in str(caught.value)
    assert f"train_batch_size (file {file}) expects an int >= 1, got 0" in str(caught.value)


@pytest.mark.parametrize(
    ("model", "settings", "samples"),
    [
        ("BPR", {}, 1),
        ("BPR", {"train_neg_sample_args": UNIFORM}, 2),
        ("BPR", {"train_neg_sample_args": {"sample_num": 3}}, 3),
        ("NeuMF", {}, "none"),
        ("NeuMF", {"train_neg_sample_args": UNIFORM}, 2),
        ("DeepFM", {}, "none"),
        ("Pop", {}, "none"),
        ("Pop", {"train_neg_sample_args": None}, "none"),
        ("SASRec", {}, "none"),
        ("SASRec", {"loss_type": "BPR"}, 1),
        ("DIN", {}, "none"),
        ("MultiVAE", {}, "none"),
    ],
)
def test_each_family_gets_the_negatives_that_it_expects(
    tiny: Tiny, model: str, settings: dict, samples: int | str
) -> None:
    """By default RecBole samples for Pop too, and counts the samples as clicks."""
    config = config_of(tiny, model, **settings)
    assert config["train_neg_sample_args"]["sample_num"] == samples


@pytest.mark.parametrize("model", ["Pop", "BPR", "DeepFM", "SASRec", "DIN"])
def test_on_impressions_the_metrics_are_those_of_mind(tiny: Tiny, model: str) -> None:
    """RecBole's AUC pools all rows, its MRR counts the first click: other numbers, same names."""
    config = config_of(tiny, model)
    assert set(config["metrics"]) >= {METRICS[name].__name__ for name in ("auc", "mrr", "ndcg")}
    assert (config["valid_metric"], config["topk"]) == ("AUC", [5, 10])
    assert config["eval_args"]["mode"] == {"valid": "labeled", "test": "labeled"}
    with pytest.raises(ValueError, match="metrics expects some of AUC, MRR, NDCG"):
        config_of(tiny, model, metrics=["LogLoss"])


def test_both_names_of_the_history_length_mean_the_same(tiny: Tiny) -> None:
    for settings in ({"history_length": 7}, {"MAX_ITEM_LIST_LENGTH": 7}):
        config = config_of(tiny, "SASRec", **settings)
        assert config["history_length"] == config["MAX_ITEM_LIST_LENGTH"] == 7
    with pytest.raises(ValueError, match="history_length is MAX_ITEM_LIST_LENGTH under another"):
        config_of(tiny, "SASRec", history_length=7, MAX_ITEM_LIST_LENGTH=8)


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        ("KGAT", {}, "KGAT cannot run on impressions: it needs a knowledge graph"),
        ("NCL", {}, "NCL cannot run on impressions: it needs faiss"),
        ("lightgbm", {}, "lightgbm cannot run on impressions: it is trained by an external"),
        ("SASRec", {"loss_type": "TOP1"}, "loss_type expects CE or BPR, got TOP1"),
        ("BPR", {"train_neg_sample_args": None}, "train_neg_sample_args expects a distribution"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_data_are_read(
    tiny: Tiny, model: str, settings: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        config_of(tiny, model, **settings)


@pytest.mark.parametrize(
    "how",
    [
        *(5, "uniform", {"distribution": "popular"}, {"sample_num": 0}, {"sample_num": "many"}),
        *({"dynamic": True}, {"dynamic": True, "candidate_num": 0}),
    ],
)
def test_samples_that_cannot_be_drawn_are_refused(tiny: Tiny, how: object) -> None:
    """RecBole fails after reading the data, with an error that names no setting."""
    with pytest.raises(ValueError, match=r"args \(config_dict\) expects ~ or a distribution"):
        config_of(tiny, "BPR", train_neg_sample_args=how)


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("Pop", {"train_neg_sample_args": UNIFORM}),
        ("Pop", {"train_neg_sample_args": {}}),  # RecBole's default: uniform, one sample
        ("MultiVAE", {"train_neg_sample_args": UNIFORM}),
        ("SASRec", {"train_neg_sample_args": UNIFORM}),
    ],
)
def test_a_model_that_knows_no_negatives_refuses_them(
    tiny: Tiny, model: str, settings: dict
) -> None:
    """Pop would count the samples as clicks; the other models would ignore the setting."""
    with pytest.raises(ValueError, match=rf"{next(iter(settings))} expects .*row of {model}"):
        config_of(tiny, model, **settings)


@pytest.mark.parametrize(
    "flag",
    [
        *("--eval_dump=x.csv", "--item_text=x", "--history_length=20", "--fresh"),
        *("--metrics=[AUC, MRR]", "--submission=x.zip", "--result_file=x.json"),
    ],
)
def test_a_missing_data_set_is_missing_for_recboles_models_too(flag: str) -> None:
    """`eval_dump is no setting. Did you mean eval_step?` would not name the real mistake."""
    with pytest.raises(ValueError, match="don't fit") as caught:
        NewsConfig("BPR", "mind-mni", command_line=[flag])
    _, *mistakes = str(caught.value).splitlines()
    assert len(mistakes) == 1
    assert "dataset expects a folder" in mistakes[0]
    assert "convert" in mistakes[0]
