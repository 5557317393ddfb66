from __future__ import annotations

import copy
import importlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from recbole.config import Config
from recbole.evaluator.register import metric_types
from recbole.utils import argument_list

from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.pipeline.config import NewsConfig
from recbole_tinynews.recbole_models import patches
from recbole_tinynews.settings import literals, registry
from recbole_tinynews.settings.registry import MODELS, declared_settings, has_language_model
from recbole_tinynews.trainer import optimization

OVERALL = """
eval_args: {split: {'RS': [0.8, 0.1, 0.1]}, group_by: ~, order: RO, mode: labeled}
metrics: [AUC, MRR, NDCG]
topk: [5, 10]
valid_metric: auc
train_neg_sample_args: ~
plm: bert-base-uncased
num_hidden_layers: ~
learning_rate: 5e-5
negatives: 4
history_length: 50
plm_dropout: 0.1
precision: ~
amsgrad: true
fresh: false
result_file: ~
"""
PLMNR_YAML = """
teacher_num_hidden_layers: ~
temperature: 1.0
"""
STAGES = {
    "post_train_teacher": """
metrics: [ACCURACY]
learning_rate: 1e-5
negatives: 9
negative_titles: random
""",
    "post_train_student": "metrics: [ACCURACY]\nnegatives: 9",
    "pretrain_teacher": "",
    "finetune_teacher": "",
}


@pytest.fixture(autouse=True)
def properties(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary installation: its yaml, and a packaged data set `mind-mini`."""
    monkeypatch.setattr(literals, "_PACKAGE", tmp_path / "installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    folder = tmp_path / "installed" / "properties"
    for name in ("model", "dataset", "stage"):
        (folder / name).mkdir(parents=True)
    (tmp_path / "installed" / "dataset" / "mind-mini").mkdir(parents=True)
    (tmp_path / "dataset" / "any").mkdir(parents=True)  # holds no impressions
    (folder / "overall.yaml").write_text(OVERALL)
    recbole = {"metrics": ["AUC"], "valid_metric": "auc"}
    (folder / "recbole.yaml").write_text(yaml.safe_dump({**RECBOLE_YAML, **recbole}))
    (folder / "model" / "PLMNR.yaml").write_text(PLMNR_YAML)
    for stage, text in STAGES.items():
        (folder / "stage" / f"{stage}.yaml").write_text(text)
    return folder


def config_of(*flags: str, **settings: Any) -> NewsConfig:
    return NewsConfig("PLMNR", config_dict=settings, command_line=flags)


def mistakes_of(*flags: str, **settings: Any) -> str:
    with pytest.raises(ValueError, match=r"settings of \w+ don't fit") as caught:
        config_of(*flags, **settings)
    return str(caught.value)


UNKNOWN_METRIC = "metrics expects some of AUC, MRR, NDCG, RECALL"
OF_PROCESSES = ("nproc", "world_size", "local_rank", "group_offset", "ip")  # RecBole's flags
UNTOLD = "valid_metric expects one of auc, mrr, ndcg@5, ndcg@10"
RECBOLE_YAML = {"eval_args": {"mode": "labeled"}, "topk": [5, 10], "history_length": 50}
SAMPLES = {"train_neg_sample_args": None}

# What it reads


def test_a_host_programs_flags_are_not_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """RecBole reads the sys.argv of any program: under pytest, --maxfail=1 becomes a setting."""
    monkeypatch.setattr(sys, "argv", ["pytest", "--learning_rate=9", "--unheard_of=1"])
    config = config_of()
    assert config["learning_rate"] == 5e-5
    assert "unheard_of" not in config


def test_yaml_for_other_libraries_is_left_alone() -> None:
    """RecBole adds its own way to read numbers to the loader that a whole process shares."""
    loaders = yaml.FullLoader, yaml.SafeLoader
    resolvers = [copy.deepcopy(loader.yaml_implicit_resolvers) for loader in loaders]
    config_of()
    assert [loader.yaml_implicit_resolvers for loader in loaders] == resolvers
    assert yaml.safe_load("[1e-5]") == ["1e-5"]


def test_strings_of_a_dict_are_read_as_yaml_and_the_dict_stays_as_it_was() -> None:
    """RecBole writes parsed values into the caller's dict."""
    code = "__import__('os').getcwd()"  # which RecBole evaluates
    given = {"topk": "[5]", "learning_rate": "1e-4", "plm": code}
    config = NewsConfig("PLMNR", config_dict=given)
    assert (config["topk"], config["learning_rate"]) == ([5], 1e-4)
    assert config["plm"] == config_of(f"--plm={code}")["plm"] == code
    assert given == {"topk": "[5]", "learning_rate": "1e-4", "plm": code}


def test_a_name_that_looks_like_a_number_stays_a_name(tmp_path: Path) -> None:
    """A data set called 1e5 is a folder."""
    (tmp_path / "dataset" / "1e5").mkdir(parents=True)
    assert NewsConfig("PLMNR", command_line=["--dataset=1e5"]).dataset == "1e5"
    assert NewsConfig("PLMNR", config_dict={"dataset": "1e5"}).dataset == "1e5"


def test_without_any_choice_the_main_model_runs_on_the_embedded_data(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []
    monkeypatch.setattr(registry, "find_model", lambda name: asked.append(name) or PLMNR)
    assert NewsConfig().dataset == "mind-mini"
    assert asked == ["TinyNewsRec"]


# Layers


def test_each_layer_overrides_the_one_before(properties: Path, tmp_path: Path) -> None:
    """The order is a contract: a flag that a packaged yaml overrides would be ignored silently."""
    packaged = "overall", "model/PLMNR", "dataset/mind-mini", "dataset/mind-mini.PLMNR"
    own = [tmp_path / "first.yaml", tmp_path / "second.yaml"]
    settings: dict[str, Any] = {}
    flags: list[str] = []

    def epochs() -> int:
        files = [file for file in own if file.exists()]
        return NewsConfig("PLMNR", "mind-mini", files, settings, flags)["epochs"]

    seen = [epochs()]
    for number, file in enumerate([*(properties / f"{name}.yaml" for name in packaged), *own], 1):
        with open(file, "a") as opened:
            opened.write(f"\nepochs: {number}\n")
        seen.append(epochs())
    settings["epochs"] = 7
    seen.append(epochs())
    flags.append("--epochs=8")
    assert [*seen, epochs()] == [300, 1, 2, 3, 4, 5, 6, 7, 8]


@pytest.fixture
def users_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type:
    """A class and a yaml outside the package, with the name of one of RecBole's models."""
    (tmp_path / "NPE.yaml").write_text("temperature: 3.0\nmy_width: 8\n")
    code = "from recbole_tinynews.model.paper.plmnr import PLMNR\nclass NPE(PLMNR):\n    pass\n"
    (tmp_path / "users_module.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "users_module", raising=False)
    return importlib.import_module("users_module").NPE


def test_a_users_class_is_declared_by_the_yaml_beside_it_over_its_bases(users_model: type) -> None:
    """A new model needs one class and one yaml, nothing more."""
    config = NewsConfig(users_model, "mind-mini", command_line=["--my_width=16"])
    assert config["my_width"] == 16
    assert config["temperature"] == 3.0
    assert config.for_stage("post_train_teacher")["learning_rate"] == 1e-5
    assert (config["model"], config.model_class) == ("NPE", users_model)
    assert "embedding_size" not in config  # of RecBole's NPE


def test_a_users_class_keeps_its_bases_settings_for_a_data_set(properties: Path) -> None:
    """A new student on mind-mini would be trained with rates and sizes meant for BERT."""
    folder = properties / "dataset"
    (folder / "mind-mini.PLMNR.yaml").write_text("post_train_student_epochs: 2\nepochs: 5\n")
    (folder / "mind-mini.Mine.yaml").write_text("epochs: 6\n")
    config = NewsConfig(type("Mine", (PLMNR,), {}), "mind-mini")
    assert (config.for_stage("post_train_student")["epochs"], config["epochs"]) == (2, 6)


@pytest.mark.parametrize(
    ("place", "epochs"),
    [("dataset/mind-mini.yaml", 43), ("dataset/mind-mini.PLMNR.yaml", 44)],
)
def test_the_working_folders_yaml_is_read_after_the_packages(
    properties: Path, tmp_path: Path, place: str, epochs: int
) -> None:
    """A yaml beside the user's own data was ignored wherever the package is installed."""
    (properties / "dataset" / "mind-mini.PLMNR.yaml").write_text("epochs: 5\n")
    own = tmp_path / "properties" / place
    own.parent.mkdir(parents=True)
    own.write_text(f"epochs: {epochs}\nnegatives: 7\n")
    config = config_of("--negatives=2")
    assert (config["epochs"], config["negatives"]) == (epochs, 2)
    (source,) = (source for key, *_, source in config.settings.changed() if key.name == "epochs")
    assert source == f"file properties/{place}"
    own.write_text("epoch: 3\n")
    assert f"epoch (file properties/{place}) is no setting. Did you mean epochs?" in mistakes_of()


def test_values_of_a_data_set_or_a_stage_declare_nothing(properties: Path) -> None:
    """A misspelt one would count as declared, and never be read."""
    (properties / "dataset" / "mind-mini.yaml").write_text("max_lenght: 3\n")
    assert "max_lenght (file" in mistakes_of()
    assert "mind-mini.yaml) is no setting" in mistakes_of()
    (properties / "model" / "PLMNR.yaml").write_text("post_train_teacher_learnin_rate: 1e-5\n")
    assert "Did you mean post_train_teacher_learning_rate?" in mistakes_of()


# Mistakes


def test_all_mistakes_come_at_once_with_their_sources(tmp_path: Path) -> None:
    """One mistake at a time would cost a user many starts."""
    file = tmp_path / "mine.yaml"
    file.write_text("histroy_length: 50\nplm_dropout: 1.5\n")
    with pytest.raises(ValueError, match="don't fit") as caught:
        NewsConfig(
            "PLMNR",
            "mind-mini",
            [file, "absent.yaml"],
            {"negatives": 0},
            ["--learnin_rate=9", "--finetune_teacher_precision=bf32", "--epochs", "3"],
        )
    text = str(caught.value)
    assert f"histroy_length (file {file}) is no setting. Did you mean history_length?" in text
    assert f"plm_dropout (file {file}) expects a number >= 0 and < 1, got 1.5" in text
    assert "absent.yaml" in text
    assert "negatives (config_dict) expects an int from 1 to 10,000, got 0" in text
    assert "learnin_rate (command line) is no setting. Did you mean learning_rate?" in text
    assert "finetune_teacher_precision (command line) expects one of ~, fp32" in text
    assert "write --epochs=3" in text


@pytest.mark.parametrize(
    ("flag", "answer"),
    [
        ("--plm=None", "plm (command line) got the text 'None': write ~ or null"),
        # RecBole ignores it; `{mode:labeled}` without a space is an entry called 'mode:labeled'
        ("--eval_args={mode:labeled}", "eval_args (command line) expects {mode: labeled}"),
        # RecBole would train with Adam instead, and drop the weight decay
        ("--learner=adamww", "Did you mean adamw?"),
        # `run(config_dict={"nproc": 2})` would train in one process and say nothing
        *((f"--{one}=2", f"{one} (command line) is no setting") for one in OF_PROCESSES),
        # ItemCoverage needs lists of one length over all articles, which impressions are not
        *((f"--metrics={name}", UNKNOWN_METRIC) for name in ("ItemCoverage", "LogLoss", "Recal")),
        ("--metrics=" + "[" * 2000, UNKNOWN_METRIC),  # a RecursionError, and 70 lines of it
        # RecBole would train an epoch, then fail with a KeyError; its default is MRR@10
        *((f"--valid_metric={name}", UNTOLD) for name in ("MRR@10", "ndcg@7", "ndcg", "recall")),
        # metrics are set up once per run; those of a stage would never be computed
        ("--finetune_teacher_metrics=[AUC]", "Set metrics"),
        ("--post_train_teacher_metrics=[AUC]", "Set metrics"),
        # with a misspelt path, a run would train on the small packaged set
        ("--data_path=nowhere", "nowhere/mind-mini"),
        ("--dataset=mind-large", "--dataset=mind-large --output=dataset"),
    ],
)
def test_what_would_be_ignored_or_train_something_else_is_a_mistake(flag: str, answer: str) -> None:
    assert answer in mistakes_of(flag)
    assert len(mistakes_of(flag)) < 1_000


def test_a_bare_flag_is_true_for_a_switch_and_a_mistake_elsewhere() -> None:
    """`--result_file` without a path would write to a file called True."""
    assert config_of("--fresh")["fresh"] is True
    assert config_of("--finetune_teacher_amsgrad").for_stage("finetune_teacher")["amsgrad"] is True
    assert "name of a file or folder or ~, got True" in mistakes_of("--result_file")


def test_one_process_of_several_shows_no_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight bars on one terminal can't be read."""
    for name, value in (("LOCAL_RANK", "1"), ("RANK", "1"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    assert config_of("--show_progress=True")["show_progress"] is False
    monkeypatch.setenv("RANK", "0")
    assert config_of("--show_progress=True")["show_progress"] is True


def test_torchrun_is_refused_where_there_is_nothing_to_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each process would train RecBole's model by itself and write the same files."""
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="BPR has no language model to share out"):
        NewsConfig("BPR", "any")


# Metrics


def test_minds_metric_names_mean_the_packages_metrics() -> None:
    """RecBole's AUC pools all rows, its MRR stops at the first click: other numbers."""
    config = config_of("--metrics=[auc, MRR, auc]", "--valid_metric=MRR")
    assert config["metrics"] == ["ImpressionAUC", "ImpressionMRR", "ImpressionCount"]
    assert all(name.lower() in metric_types for name in config["metrics"])
    assert config["valid_metric_bigger"] is True


def test_recboles_metric_names_are_computed_per_impression_and_can_be_validated_on() -> None:
    """A RecBole user writes Recall and topk, and must not train an epoch before a KeyError."""
    asked = ("--metrics=[Recall, Hit, Precision, MAP, GAUC]", "--topk=[3]")
    config = config_of(*asked, "--valid_metric=Recall@3")
    of_package = ["ImpressionRecall", "ImpressionHit", "ImpressionPrecision", "ImpressionMAP"]
    assert config["metrics"] == [*of_package, "UserGAUC", "ImpressionCount"]
    assert config.metric_results == ["recall@3", "hit@3", "precision@3", "map@3", "gauc"]
    assert config_of(*asked, "--valid_metric=GAUC")["valid_metric_bigger"] is True
    answer = "valid_metric expects one of recall@3, hit@3, precision@3, map@3, gauc"
    assert answer in mistakes_of(*asked, "--valid_metric=Recall@5")


@pytest.mark.parametrize("name", ["Diversity", "Coverage", "Calibration", "Novelty", "Cold_Share"])
def test_a_metric_of_what_is_shown_does_not_choose_the_best_epoch(name: str) -> None:
    """The most diverse model is one that has learned nothing; post-training ranks no articles."""
    asked = f"--metrics=[AUC, {name}]", "--topk=[3]"
    assert config_of(*asked).metric_results == ["auc", f"{name.lower()}@3"]
    answer = f"valid_metric expects one of auc (see metrics, topk), got {name}@3"
    assert answer in mistakes_of(*asked, f"--valid_metric={name}@3")
    alone = mistakes_of(f"--metrics=[{name}]", "--topk=[3]", f"--valid_metric={name}@3")
    assert "expects one of the results of a metric of clicks, such as AUC" in alone


def test_a_stages_valid_metric_is_checked_as_well() -> None:
    assert config_of("--finetune_teacher_valid_metric=ndcg@10", "--topk=10")["topk"] == [10]
    assert "finetune_teacher_valid_metric expects" in mistakes_of(
        "--finetune_teacher_valid_metric=ndcg@10", "--topk=5"
    )


# Stages


def test_a_stage_reads_its_own_setting_and_else_the_plain_one() -> None:
    config = config_of("--epochs=2", "--learning_rate=9e-5", "--finetune_teacher_epochs=4")
    teacher = config.for_stage("finetune_teacher")
    post_training = config.for_stage("post_train_teacher")
    assert (teacher["epochs"], teacher["learning_rate"]) == (4, 9e-5)
    # a prefixed key of a packaged yaml wins over a plain key from any source
    assert (post_training["epochs"], post_training["learning_rate"]) == (2, 1e-5)
    assert (config["epochs"], config["learning_rate"]) == (2, 9e-5)


@pytest.mark.parametrize("stage", ["post_train_student", "PLMNR", "a_users_teacher"])
def test_a_stages_settings_are_a_copy(stage: str) -> None:
    """A trainer that writes into its config must not change the next stage's, or the run's."""
    config = config_of()
    staged = config.for_stage(stage)
    staged["epochs"] = 99
    staged["topk"].append(20)
    assert (config["epochs"], config["topk"]) == (300, [5, 10])
    assert staged.model_class is PLMNR


def test_a_teacher_has_the_teachers_layers_and_a_student_the_plain_ones() -> None:
    """With the student's two layers as fallback, the teacher would be as small as the student."""
    config = config_of("--num_hidden_layers=2", "--post_train_teacher_num_hidden_layers=3")
    assert config.for_stage("finetune_teacher")["num_hidden_layers"] is None
    assert config.for_stage("post_train_teacher")["num_hidden_layers"] == 3
    assert config.for_stage("post_train_student")["num_hidden_layers"] == 2
    deep = config_of("--num_hidden_layers=2", "--teacher_num_hidden_layers=6")
    assert deep.for_stage("pretrain_teacher")["num_hidden_layers"] == 6


def test_each_of_several_equal_stages_has_another_seed() -> None:
    """Teachers with the same start and the same draws would be one teacher, several times."""
    config = config_of(seed=3, finetune_teacher_seed=7)
    seeds = [config.for_stage("finetune_teacher", number)["seed"] for number in range(3)]
    assert seeds == [7, 8, 9]
    assert config.for_stage("PLMNR", 1).for_stage("PLMNR", 2)["seed"] == 5
    assert config["seed"] == 3


def test_a_stage_sees_another_stage_as_the_run_does() -> None:
    """A student reads its teachers' settings, which must not fall back to its own."""
    config = config_of("--finetune_teacher_epochs=8", "--post_train_student_epochs=4")
    student = config.for_stage("post_train_student")
    assert student["epochs"] == 4
    assert student.for_stage("finetune_teacher")["epochs"] == 8
    assert student.for_stage("pretrain_teacher")["epochs"] == config["epochs"]


def test_metrics_in_a_stages_yaml_are_shown_beside_those_of_the_run(properties: Path) -> None:
    config = config_of("--metrics=[MRR]", "--valid_metric=MRR")
    beside = ["ImpressionAccuracy", "ImpressionMRR", "ImpressionCount"]
    for stage in ("post_train_teacher", "post_train_student"):
        assert config.for_stage(stage)["metrics"] == beside
    assert config.for_stage("finetune_teacher")["metrics"] == beside[1:] == config["metrics"]
    again = config_of("--metrics=[AUC, ACCURACY]").for_stage("post_train_teacher")
    assert again["metrics"] == ["ImpressionAUC", "ImpressionAccuracy", "ImpressionCount"]
    (properties / "stage" / "finetune_teacher.yaml").write_text("metrics: [acuracy]\n")
    assert "finetune_teacher_metrics expects some of AUC" in mistakes_of()


def test_a_stage_reads_all_settings_but_those_of_others_alone(
    users_model: type, tmp_path: Path
) -> None:
    """Otherwise a stage trained with other settings would be reused, or none be shared."""
    (tmp_path / "stage").mkdir()
    (tmp_path / "stage" / "warm_up.yaml").write_text("my_width: 4\nmy_noise: 0.5\n")
    config = NewsConfig(users_model, "mind-mini")
    assert (config.for_stage("warm_up")["my_width"], config["my_width"]) == (4, 8)
    every = {"my_width", "my_noise", "negative_titles", "negatives", "epochs"}
    expected = {
        ("post_train_teacher", PLMNR, False): every - {"my_width", "my_noise"},
        ("finetune_teacher", PLMNR, False): {"negatives", "epochs"},
        ("NPE", users_model, False): every - {"negative_titles"},
        ("NPE", users_model, True): every,
        # a student reads what its system and any stage of the package declare
        ("post_train_student", PLMNR, True): every - {"my_width", "my_noise"},
        ("warm_up", PLMNR, False): every,  # a user's own stage may read all
        ("without_yaml", PLMNR, False): every,
    }
    for given, names in expected.items():
        assert config.read_by(*given).keys() & every == names, given


# Device, precision


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)


@pytest.mark.usefixtures("gpu")
def test_the_environments_choice_of_gpus_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    """RecBole's default gpu_id would move a job to GPU 0 from the one that a scheduler chose."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert config_of()["device"].type == "cuda"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"
    config_of("--gpu_id=1,2")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1,2"


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("flag", ["--use_gpu=false", "--gpu_id=", "--gpu_id=''"])
def test_the_cpu_can_be_chosen_and_only_for_this_run(
    monkeypatch: pytest.MonkeyPatch, flag: str
) -> None:
    """RecBole ignores use_gpu, and would hide GPUs from every later run of the process."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert config_of(flag)["device"].type == "cpu"
    assert config_of()["device"].type == "cuda"


def test_a_gpu_that_does_not_exist_is_an_error_that_leaves_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`--use_gpu=True --gpu_id=3` without a GPU ran on the processor, and said nothing."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(ValueError, match=r"gpu_id=3 expects a GPU .*finds \d+ GPUs.*use_gpu=False"):
        config_of("--use_gpu=True", "--gpu_id=3")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    assert config_of("--use_gpu=False", "--gpu_id=3")["device"].type == "cpu"
    assert config_of()["device"].type == "cpu"


def test_recboles_mixed_precision_switch_means_auto() -> None:
    """With precision left at fp32 the switch would silently be ignored."""
    assert config_of("--enable_amp")["precision"] == "auto"
    assert config_of("--enable_amp", "--precision=bf16")["precision"] == "bf16"
    assert config_of("--enable_amp", "--precision=fp32")["precision"] == "fp32"
    assert config_of()["precision"] == "fp32"


@pytest.mark.parametrize(
    ("device", "native", "chosen"),
    [("cpu", True, "fp32"), ("cuda", True, "bf16"), ("cuda", False, "fp32")],
)
def test_a_gpu_computes_in_bf16_by_default(monkeypatch, device, native, chosen) -> None:
    """It is several times as fast there; processors would disagree on a result."""
    monkeypatch.setattr(optimization, "has_bf16_products", lambda _: native)
    assert optimization.default_precision(torch.device(device)) == chosen
    expected = torch.bfloat16 if chosen == "bf16" else None
    assert optimization.autocast_dtype(None, torch.device(device)) == expected  # of a stage


# Data


def test_the_packaged_data_set_is_used_where_there_is_no_other(tmp_path: Path) -> None:
    assert config_of()["data_path"] == str(tmp_path / "installed" / "dataset" / "mind-mini")
    (tmp_path / "dataset" / "mind-mini").mkdir(parents=True)
    assert config_of()["data_path"] == os.path.join("dataset/", "mind-mini")


# RecBole's own models


class StockConfig(Config):
    """RecBole's own configuration, changed only to start on numpy 2."""

    def compatibility_settings(self) -> None:
        patches.apply_to_libraries()


@pytest.mark.parametrize("model", ["BPR", "SASRec", "DeepFM"])
def test_recboles_models_keep_recboles_settings(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the package's learning rate, a baseline would be another one."""
    monkeypatch.setattr(sys, "argv", ["run"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    before = copy.deepcopy(argument_list.dataset_arguments)
    ours, theirs = NewsConfig(model, "any"), StockConfig(model, "any", config_dict=SAMPLES)
    changed = {n for n, v in theirs.final_config_dict.items() if ours.final_config_dict[n] != v}
    of_impressions = {"metrics", "valid_metric", "eval_type"}
    of_impressions |= {f"{split}_neg_sample_args" for split in ("train", "valid", "test")}
    assert changed <= {*of_impressions, "MAX_ITEM_LIST_LENGTH", "data_path", *RECBOLE_YAML}
    # RecBole permanently appends the keys of a data set's yaml to a list of its module
    assert argument_list.dataset_arguments == before


def test_recboles_models_refuse_unknown_settings_and_know_their_own() -> None:
    config = NewsConfig("SGL", "any", command_line=["--ssl_tau=0.1", "--embedding_size=8"])
    assert (config["ssl_tau"], config["embedding_size"]) == (0.1, 8)
    with pytest.raises(ValueError, match=r"ssl_tu .*Did you mean ssl_tau"):
        NewsConfig("SGL", "any", command_line=["--ssl_tu=0.1"])
    with pytest.raises(ValueError, match=r"finetune_teacher_epochs .* is no setting"):
        NewsConfig("BPR", "any", command_line=["--finetune_teacher_epochs=1"])
    with pytest.raises(ValueError, match="Did you mean adamw"):
        NewsConfig("BPR", "any", command_line=["--learner=adamww"])


# What is shipped


@pytest.mark.parametrize("model", MODELS)
def test_every_shipped_yaml_is_valid_for_its_model(
    model: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A default that is refused, or has another type than its rule, would stop every run."""
    monkeypatch.setattr(literals, "_PACKAGE", registry.PACKAGE)
    shipped = sorted((literals.packaged_folder("properties") / "dataset").glob("*.yaml"))
    datasets = {file.stem for file in shipped if "." not in file.stem}
    for dataset in {"mind-mini", *datasets}:
        (tmp_path / "dataset" / dataset).mkdir(parents=True, exist_ok=True)
        config = NewsConfig(model, dataset)
        assert config["model"] == model
        for stage in config.settings.stages:
            assert config.for_stage(stage)["plm"]
        assert bool(config.settings.stages) == has_language_model(config.model_class)


def test_rates_of_an_embedded_language_model_are_not_those_of_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A real one, trained at the rates of the random toy of mind-mini, ends worse than chance."""
    monkeypatch.setattr(literals, "_PACKAGE", registry.PACKAGE)
    embedded, other = (
        NewsConfig("TinyNewsRec", "mind-mini", config_dict={"plm": plm} if plm else {})
        for plm in (None, "bert-base-uncased")
    )
    declared = declared_settings(embedded.model_class)
    for name in ("finetune_layers", "news_dim", "learning_rate", "plm_learning_rate"):
        assert embedded[name] != declared[name]
        assert other[name] == declared[name]
    assert embedded["epochs"] == other["epochs"] == 3  # the data are the same
    by_path = literals.packaged_folder("dataset") / "mind-mini" / "language_model"
    same = NewsConfig("TinyNewsRec", "mind-mini", config_dict={"plm": str(by_path)})
    assert same["news_dim"] == embedded["news_dim"]
    given = {"finetune_teacher_plm": "bert-base-uncased"}
    config = NewsConfig("TinyNewsRec", "mind-mini", config_dict=given)
    teacher = config.for_stage("finetune_teacher")
    assert teacher["finetune_layers"] == declared["finetune_layers"]
    assert teacher["learning_rate"] == 5e-5  # of the stage's own yaml
    assert config["learning_rate"] == embedded["learning_rate"]
