from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import torch
from cluster import in_processes
from tiny import Tiny, write_dataset
from train_systems import train

from recbole_tinynews.files.tensors import load_weights
from recbole_tinynews.settings.registry import declared_settings, find_model

pytestmark = pytest.mark.whole

STAGES = ("finetune_teacher", "post_train_teacher", "post_train_student", "pretrain_teacher")

# 37 clicks: batches of 12, and a last one of a single click, which leaves processes without any
COMMON: dict[str, Any] = {
    "train_batch_size": 12,
    "eval_steps": 5,
    "max_steps": 6,
    "epochs": 99,
    "stopping_step": 2,
    "plm_dropout": 0.0,
    "word_dropout": 0.0,
    "user_mask": 0.0,  # what is random in training is drawn by each process for its own part
    **{f"{stage}_max_steps": 6 for stage in STAGES},
    **{f"{stage}_epochs": 99 for stage in STAGES},
    # Adam divides by gradients: what is rounding alone, as that of a bias of keys, grows
    # to the rate times 1e8
    **{
        f"{stage}_{rate}": 1e-3
        for stage in ("post_train_teacher", "post_train_student", "pretrain_teacher")
        for rate in ("learning_rate", "plm_learning_rate")
    },
}
STEPPED = {
    "accumulation_steps": 2,
    "warmup_steps": 5,
    "clip_grad_norm": {"max_norm": 0.5},
    "weight_decay": 0.01,
    "learner": "adamw",
}
# each covers a loader, a loss or an encoder that the others don't
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "PLMNR": (
        "PLMNR",
        {
            **STEPPED,
            "history_padding": "learned",
            "mask_padding_in_news_pooling": False,
            "finetune_layers": "all",
            "metrics": ["AUC", "MAP", "GAUC", "Calibration"],
            "group_clicks": True,
        },
    ),
    "recent vectors": ("PLMNR", {"history_cache_steps": 3}),
    "TinyNewsRec": (
        "TinyNewsRec",
        {
            **STEPPED,
            "post_train_teacher_negative_titles": "in_batch",
            "post_train_student_negative_titles": "random",
            "metrics": ["AUC", "Diversity", "Novelty"],
        },
    ),
    "NewsBERT": ("NewsBERT", {"gradient_momentum": 0.1, "user_loss_weight": 1.0}),
    "TinyBERT": ("TinyBERT", {}),
    "MTBERT": ("MTBERT", {}),
    "AlignedNewsRec": ("AlignedNewsRec", {}),
    "masked language model": ("PLMNRDAPT", {}),
    "views": ("NRMS", {"word_encoder": "cnn", "views": ["category", "body", "title"]}),
    "user ids": ("LSTUR", {}),
    "a loss of articles": ("TANR", {}),
    "words of articles": ("NPA", {}),
    "interests": ("MINER", {"news_encoder": "words"}),
}
OF_THREE = "recent vectors", "TinyNewsRec"
RUNS = [(2, n) for n in CASES] + [pytest.param(3, n, marks=pytest.mark.long) for n in OF_THREE]


@pytest.fixture(scope="module")
def trained(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """The folder with the finished cases of so many processes."""
    parent = tmp_path_factory.mktemp("trained")

    def folder_of(processes: int) -> Path:
        folder = parent / str(processes)
        if not folder.is_dir():
            folder.mkdir()
            two = tiny._replace(data=write_dataset(folder / "data", clicks=2))
            names = [name for name in CASES if processes < 3 or name in OF_THREE]
            worlds = {name: two if "group_clicks" in CASES[name][1] else tiny for name in names}
            cases = [(n, CASES[n][0], settings(worlds[n], *CASES[n])) for n in names]
            if processes == 1:
                train(cases, folder)
            else:
                (folder / "cases.json").write_text(json.dumps(cases))
                in_processes(processes, "train_systems", folder / "cases.json", folder)
        return folder

    return folder_of


def settings(tiny: Tiny, model: str, own: dict[str, Any]) -> dict[str, Any]:
    known = declared_settings(find_model(model))
    common = {n: v for n, v in COMMON.items() if n in known or n.startswith(STAGES)}
    return {**tiny.settings(model), **common, **own}


def weights_of(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    return {
        str(file.relative_to(folder)): load_weights(file)
        for file in sorted(folder.rglob("*.safetensors"))
    }


@pytest.mark.parametrize(("processes", "name"), RUNS)
def test_several_processes_end_with_the_weights_of_one(
    trained: Callable[[int], Path], processes: int, name: str
) -> None:
    """A batch that counts by process and not by sample would train something else."""
    one, several = (weights_of(trained(n) / name) for n in (1, processes))
    assert one
    assert one.keys() == several.keys()
    apart = {
        f"{file}: {part}": (several[file][part] - value).abs().max().item()
        for file, weights in one.items()
        for part, value in weights.items()
    }
    assert {part: value for part, value in apart.items() if not value <= 1e-9} == {}


@pytest.mark.parametrize(("processes", "name"), RUNS)
def test_several_processes_report_the_metrics_of_one(
    trained: Callable[[int], Path], processes: int, name: str
) -> None:
    """Averages of shards are no averages of impressions (RecBole#2154)."""
    one, several = (trained(n) / name for n in (1, processes))
    results = [json.loads((each / "result.json").read_text()) for each in (one, several)]
    for part in ("valid", "test", "test_cold"):
        assert results[0][part] == results[1][part]
    assert (one / "dump.csv").read_bytes() == (several / "dump.csv").read_bytes()
    submitted = [ZipFile(each / "submission.zip").read("prediction.txt") for each in (one, several)]
    assert submitted[0].count(b"\n") == 14  # impressions
    assert submitted[0] == submitted[1]
