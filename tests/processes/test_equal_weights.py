from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import torch
from cluster import HERE, alone, run, torchrun
from tiny import Tiny

from recbole_tinynews.files.tensors import load_weights

pytestmark = pytest.mark.whole

TEST_IMPRESSIONS = 14

# 37 clicks: batches of 12, and a last one of a single click
COMMON: dict[str, Any] = {
    "train_batch_size": 12,
    "eval_steps": 10,
    "max_steps": 50,
    "epochs": 99,
    "stopping_step": 2,
    "plm_dropout": 0.0,
    "finetune_teacher_max_steps": 50,
    "finetune_teacher_epochs": 99,
    "post_train_teacher_max_steps": 50,
    "post_train_teacher_epochs": 99,
    "post_train_student_max_steps": 50,
    "post_train_student_epochs": 99,
    "pretrain_teacher_max_steps": 50,
    "pretrain_teacher_epochs": 99,
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
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "PLMNR": ("PLMNR", {}),
    "PLMNR, stepped": (
        "PLMNR",
        {**STEPPED, "history_padding": "learned", "metrics": ["AUC", "MAP", "GAUC", "Calibration"]},
    ),
    "PLMNR, padded": ("PLMNR", {"mask_padding_in_news_pooling": False, "finetune_layers": "all"}),
    "PLMNR, recent vectors": ("PLMNR", {"history_cache_steps": 3}),
    "TinyNewsRec": ("TinyNewsRec", {"metrics": ["AUC", "Diversity", "Novelty"]}),
    "TinyNewsRec, stepped": (
        "TinyNewsRec",
        {
            **STEPPED,
            "post_train_teacher_negative_titles": "in_batch",
            "post_train_student_negative_titles": "hard",
        },
    ),
    "NewsBERT": ("NewsBERT", {"gradient_momentum": 0.1, "user_loss_weight": 1.0}),
    "TinyBERT": ("TinyBERT", STEPPED),
    "MTBERT": ("MTBERT", {}),
    "AlignedNewsRec": ("AlignedNewsRec", {}),
    "masked language model": ("PLMNRDAPT", {}),
    "NRMS": ("NRMS", {"word_dropout": 0.0, "max_steps": 20}),
    "views": (
        "NRMS",
        {
            "word_encoder": "cnn",
            "views": ["category", "body", "title"],
            "word_dropout": 0.0,
            "max_steps": 20,
        },
    ),
    # what is random in training is drawn by each process for its own part
    "user ids": ("LSTUR", {"word_dropout": 0.0, "user_mask": 0.0, "max_steps": 20}),
    "a loss of articles": ("TANR", {"word_dropout": 0.0, "max_steps": 20}),
    "words of articles": ("NPA", {"word_dropout": 0.0, "max_steps": 20}),
    "interests": ("MINER", {"news_encoder": "words", "word_dropout": 0.0, "max_steps": 20}),
}


@pytest.fixture(scope="module")
def cases(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("cases") / "cases.json"
    made = []
    for name, (model, settings) in CASES.items():
        made.append((name, model, {**tiny.settings(model), **COMMON, **settings}))
    place.write_text(json.dumps(made))
    return place


def trained(cases: Path, processes: int) -> Path:
    folder = cases.parent / str(processes)
    if not folder.is_dir():
        folder.mkdir()
        program = [HERE / "train_systems.py", cases, folder]
        ended = run(torchrun(processes, *program) if processes > 1 else alone(*program), folder)
        assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-4000:]
    return folder


def weights_of(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    return {
        str(file.relative_to(folder)): load_weights(file)
        for file in sorted(folder.rglob("*.safetensors"))
    }


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("processes", [2, 3])
def test_several_processes_end_with_the_weights_of_one(
    cases: Path, processes: int, name: str
) -> None:
    """A batch that counts by process and not by sample would train something else."""
    one, several = (weights_of(trained(cases, n) / name) for n in (1, processes))
    assert one
    assert one.keys() == several.keys()
    apart = {
        f"{file}: {part}": (several[file][part] - value).abs().max().item()
        for file, weights in one.items()
        for part, value in weights.items()
    }
    assert {part: value for part, value in apart.items() if not value <= 1e-9} == {}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("processes", [2, 3])
def test_several_processes_report_the_metrics_of_one(
    cases: Path, processes: int, name: str
) -> None:
    """Averages of shards are no averages of impressions (RecBole#2154)."""
    one, several = (trained(cases, n) / name for n in (1, processes))
    results = [json.loads((each / "result.json").read_text()) for each in (one, several)]
    for part in ("valid", "test", "test_cold", "test_slices"):
        assert results[0][part] == results[1][part]
    assert (one / "dump.csv").read_bytes() == (several / "dump.csv").read_bytes()
    submitted = [ZipFile(each / "submission.zip").read("prediction.txt") for each in (one, several)]
    assert submitted[0].count(b"\n") == TEST_IMPRESSIONS
    assert submitted[0] == submitted[1]
