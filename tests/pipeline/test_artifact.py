from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tiny import Tiny

from recbole_tinynews.files.tensors import save_weights
from recbole_tinynews.model.paper.newsbert import NewsBERT
from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.model.paper.tinynewsrec import TinyNewsRec
from recbole_tinynews.model.stages.title_body import TitleBodyMatcher, TitleBodyStudent
from recbole_tinynews.pipeline.artifact import (
    Artifact,
    begin,
    read_metrics,
    write_metrics,
    write_settings,
)
from recbole_tinynews.pipeline.config import NewsConfig
from recbole_tinynews.pipeline.fingerprints import fingerprint, settings_that_matter
from recbole_tinynews.pipeline.stage import Stage


def artifact(folder: Path, steps: list[int]) -> Artifact:
    save_weights(
        {"frozen": torch.zeros(1), "trained": torch.zeros(1)}, folder / "model.safetensors"
    )
    for step in steps:
        place = folder / "copies" / f"step-{step}.safetensors"
        save_weights({"trained": torch.tensor([float(step)])}, place)
    return Artifact("post_train_teacher", "abc", folder, 1.0, {})


def test_the_last_copies_become_teachers_in_the_order_of_their_steps(tmp_path: Path) -> None:
    """Sorted by name, step 500 would come after step 1500."""
    made = artifact(tmp_path, [500, 1000, 1500, 1743])
    copies = [made.copy(back) for back in (2, 1, 0)]
    assert [float(copy.load()["trained"]) for copy in copies] == [1000, 1500, 1743]
    assert all(copy.load()["frozen"] == 0 for copy in copies)
    assert [copy.source.stem for copy in copies] == ["step-1000", "step-1500", "step-1743"]


def test_a_partial_file_of_a_killed_run_is_not_taken_for_a_copy(tmp_path: Path) -> None:
    made = artifact(tmp_path, [2])
    (tmp_path / "copies" / ".step-4.safetensors-123").write_bytes(b"half")
    made.copy(0)
    with pytest.raises(ValueError, match="got 1"):
        made.copy(1)


def test_a_stage_that_is_resumed_removes_what_a_kill_left_half_written(tmp_path: Path) -> None:
    """A copy takes as much room as the model, and each kill would leave another one."""
    (tmp_path / "copies").mkdir()
    (tmp_path / "copies" / ".step-4.safetensors.0123abcd.partial").mkdir()
    (tmp_path / ".metrics.json.0123abcd.partial").touch()
    (tmp_path / "state").mkdir()
    begin(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["copies", "state"]


def test_more_teachers_than_copies_say_what_to_do(tmp_path: Path) -> None:
    """Fewer teachers than asked for would be another experiment under the same name."""
    made = artifact(tmp_path, [2, 4])
    with pytest.raises(
        ValueError, match=r"num_teachers=3 .*got 2 in .*teacher_checkpoint_interval"
    ):
        made.copy(2)


STAGES = {TitleBodyMatcher: "post_train_teacher", TitleBodyStudent: "post_train_student"}
STUDENTS = (TinyNewsRec, TitleBodyStudent, NewsBERT)


def described(config: NewsConfig, model: type) -> dict[str, Any]:
    """The settings that affect the stage that trains the model; a student has a teacher."""
    own = model.__name__ if model is config.model_class else "finetune_teacher"
    teachers = (Stage("finetune_teacher", PLMNR),) if model in STUDENTS else ()
    return settings_that_matter(config, Stage(STAGES.get(model, own), model, teachers=teachers))


def mark(tiny: Tiny, model: type = PLMNR, contents: tuple[str, ...] = ("data",), **settings) -> str:
    config = tiny.config(model, **settings)
    return fingerprint({**described(config, model), "contents": contents})


CHANGES = {
    PLMNR: {
        **{"learning_rate": 2e-3, "seed": 7, "finetune_layers": 2, "plm_dropout": 0.2},
        **{"train_batch_size": 9, "history_length": 5, "max_steps": 3, "precision": "bf16"},
        "user_encoder": "self_attention",
    },
    NewsBERT: {
        **{"student_init": "teacher", "layer_mapping": "last"},
        **{"gradient_momentum": 0.2, "teacher_target_loss_weight": 0.5},
    },
}
LEAVES = {
    **{"checkpoint_dir": "elsewhere", "result_file": "result.json", "eval_dump": "dump.csv"},
    **{"submission": "submission.zip", "worker": 2, "save_steps": 1, "eval_batch_size": 99},
    **{"show_progress": True, "use_cache": "auto"},
}


@pytest.mark.parametrize(
    ("model", "name", "value"),
    [(model, *setting) for model, settings in CHANGES.items() for setting in settings.items()],
)
def test_a_setting_that_changes_the_result_changes_the_fingerprint(
    tiny: Tiny, model: type, name: str, value: object
) -> None:
    """Else another stage's weights would be reused in place of what was asked for."""
    assert mark(tiny, model, **{name: value}) != mark(tiny, model)


@pytest.mark.parametrize(("name", "value"), LEAVES.items())
def test_a_setting_without_effect_leaves_the_fingerprint(
    tiny: Tiny, name: str, value: object
) -> None:
    """Teachers would be retrained for hours because a file has another name."""
    assert mark(tiny, **{name: value}) == mark(tiny)


def test_settings_and_metrics_are_read_without_running_anything(tiny: Tiny, tmp_path) -> None:
    """A yaml with a Python tag would need an unsafe loader."""
    config = tiny.config("TinyNewsRec")
    write_settings(tmp_path, described(config, TinyNewsRec))
    settings = yaml.safe_load((tmp_path / "settings.yaml").read_text(encoding="utf-8"))
    assert settings["num_teachers"] == 2
    assert settings["model_class"] == "recbole_tinynews.model.paper.tinynewsrec.TinyNewsRec"
    assert settings["learning_rate"] == 1e-3
    write_metrics(tmp_path, {"valid": {"auc": 0.5}})
    assert json.loads((tmp_path / "metrics.json").read_text())["valid"] == {"auc": 0.5}


def test_metrics_that_were_changed_are_refused(tmp_path: Path) -> None:
    """A flipped bit of a validation result, or of a checksum, would be believed."""
    write_metrics(tmp_path, {"valid": {"auc": 0.5}})
    assert read_metrics(tmp_path) == {"valid": {"auc": 0.5}}
    text = (tmp_path / "metrics.json").read_text()
    (tmp_path / "metrics.json").write_text(text.replace("0.5", "0.7"))
    with pytest.raises(ValueError, match="was changed after it was written"):
        read_metrics(tmp_path)
    (tmp_path / "metrics.json").write_text('{"valid": {}}')  # without its checksum
    with pytest.raises(ValueError, match="was changed after it was written"):
        read_metrics(tmp_path)
