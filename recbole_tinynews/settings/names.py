"""Which settings exist: RecBole's, the yaml-declared ones, and both under the name of a stage."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import recbole
from recbole.utils import argument_list

from recbole_tinynews.settings.literals import read_yaml

TEACHER_STAGES = ("post_train_teacher", "pretrain_teacher", "finetune_teacher")
POST_TRAINING = ("post_train_teacher", "post_train_student")
RANK_NO_NEWS = (*POST_TRAINING, "pretrain_teacher")
STAGES = (*TEACHER_STAGES, "post_train_student")

# Read by RecBole's code for every model, but declared nowhere.
_UNDECLARED = (
    *("model", "dataset", "config_files", "encoding", "tail_ratio"),
    *("nproc", "world_size", "ip", "port", "offset", "group_offset", "local_rank"),
    *("neg_sampling", "training_neg_sample_num"),  # old names, which RecBole answers itself
)
# The same, read for RecBole's own models only.
_UNDECLARED_OF_MODELS = (
    *("loss_type", "embedding_size", "double_tower", "reg_weight"),
    *("convert_token_to_onehot", "token_num_threshold", "xgb_early_stopping_rounds"),
    *("has_residual", "norm", "sim", "contrast", "use_filter", "tau", "cin"),
)
# Ours, but of use whichever model runs.
_OF_EVERY_RUN = ("result_file", "submission")

# Settings of the whole run, which no stage may have for itself: the data set is read once, the
# metrics are mapped once, and `precision` is what a stage has instead of RecBole's enable_amp.
WHOLE_RUN = frozenset(
    (
        *argument_list.dataset_arguments,
        *("model", "dataset", "config_files", "config_file", "data_path", "checkpoint_dir"),
        *("save_dataset", "dataset_save_path", "save_dataloaders", "dataloaders_save_path"),
        *("gpu_id", "use_gpu", "state", "log_wandb", "wandb_project", "transform"),
        *("nproc", "world_size", "ip", "port", "offset", "group_offset", "local_rank"),
        *("metrics", "topk", "valid_metric_bigger", "eval_args", "train_neg_sample_args"),
        *("repeatable", "metric_decimal_place", "enable_amp", "enable_scaler"),
        *("teacher_num_hidden_layers", "num_teachers", "teacher_checkpoint_interval"),
        *("stage", "stage_one", "stage_two", "fresh", "result_file", "eval_dump", "submission"),
    )
)

_PROPERTIES = Path(recbole.__file__).parent / "properties"


def recbole_overall_settings() -> dict[str, Any]:
    """RecBole's settings for every model, with their defaults where it declares them."""
    lists = (
        argument_list.general_arguments,
        argument_list.training_arguments,
        argument_list.evaluation_arguments,
        argument_list.dataset_arguments,
    )
    names = [name for names in lists for name in names]
    return {
        **dict.fromkeys([*names, *_UNDECLARED, *_OF_EVERY_RUN]),
        **read_yaml(_PROPERTIES / "dataset" / "sample.yaml"),
        **read_yaml(_PROPERTIES / "overall.yaml"),
    }


def recbole_model_settings() -> dict[str, Any]:
    """What RecBole's own models share beyond that: the settings of its quick-start yaml files."""
    names: list[str] = [*_UNDECLARED_OF_MODELS]
    for file in (_PROPERTIES / "quick_start_config").glob("*.yaml"):
        names += read_yaml(file)
    return dict.fromkeys(names)


def split_stage(name: str) -> tuple[str | None, str]:
    """A setting's stage, if its name begins with one, and its plain name.

    >>> split_stage("post_train_teacher_epochs"), split_stage("epochs")
    (('post_train_teacher', 'epochs'), (None, 'epochs'))
    """
    for stage in sorted(STAGES, key=len, reverse=True):
        if name.startswith(f"{stage}_"):
            return stage, name.removeprefix(f"{stage}_")
    return None, name


def settings_of_stage(stage: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as ``stage`` sees them: its own where it has them, else the plain ones.

    >>> settings_of_stage("finetune_teacher", {"epochs": 4, "finetune_teacher_epochs": 1})["epochs"]
    1
    """
    seen = dict(settings)
    if stage in TEACHER_STAGES and "teacher_num_hidden_layers" in settings:
        seen["num_hidden_layers"] = settings["teacher_num_hidden_layers"]
    for name, value in settings.items():
        of_stage, plain = split_stage(name)
        if of_stage == stage:
            seen[plain] = value
    return seen


def plain_name(name: str, declared: Mapping[str, Any]) -> str:
    """The declared setting that ``name`` sets, for the last stage or for the one it begins with."""
    return name if name in declared else split_stage(name)[1]


def unknown_setting(name: str, declared: Mapping[str, Any], with_stages: bool) -> str | None:
    """What is wrong with the name of a setting, or None where it is a declared one."""
    stage, plain = split_stage(name) if with_stages else (None, name)
    if name in declared or (stage and plain in declared and plain not in WHOLE_RUN):
        return None
    if stage and plain in declared:
        return f"holds for the whole run, not for a stage. Set {plain}"
    candidates = list(declared)
    if with_stages:
        per_stage = [each for each in declared if each not in WHOLE_RUN]
        candidates += [f"{each}_{plain}" for each in STAGES for plain in per_stage]
    nearest = difflib.get_close_matches(name, candidates, n=1)
    if nearest:
        return f"is no setting. Did you mean {nearest[0]}?"
    return "is no setting of this model. Declare a new one in the yaml beside the model"
