"""The table of settings: allowed values, scope and effect of each name.

Defaults and meanings are read from the yaml files that declare them, ``# (type) meaning``.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping
from enum import Enum, Flag, auto
from functools import cache
from typing import Any, NamedTuple

from recbole_tinynews.files.installation import recbole_folder
from recbole_tinynews.settings import values
from recbole_tinynews.settings.values import (
    Rule,
    an_int,
    list_of,
    one_of,
    or_,
    rule_by_default,
    suggest,
    unfit,
)

FINETUNE_TEACHER = "finetune_teacher"
OF_TEACHERS = "_teacher"  # suffix of the stages that train teachers
SHARED = {name: f"teacher_{name}" for name in ("num_hidden_layers", "vectors")}  # of all teachers


class Models(Flag):
    """Kinds of models that have different settings."""

    NONE = 0
    NEWS = auto()  # news recommenders
    RECBOLE = auto()  # RecBole's own models, on impressions
    EVERY = NEWS | RECBOLE


class Affects(Enum):
    """What a different value changes, and so which fingerprints include the setting."""

    RESULT = "Another value retrains what reads it."
    STUDENTS = "Another value retrains the stages that have teachers."
    STAGES = "It decides which stages there are."  # fingerprints cover those
    NOTHING = "It changes no result: finished stages are reused."


class Setting(NamedTuple):
    """One row of the table; a user's own setting has the default row.

    ``rule`` None: values of the default's type; ``known_to``: models that accept the setting
    although no yaml declares it; ``unread_by``: models that ignore it, so fingerprints leave it
    out.
    """

    name: str
    rule: Rule | None = None
    of_run: bool = False  # no stage may have a value of its own
    affects: Affects = Affects.RESULT
    known_to: Models = Models.NONE
    unread_by: Models = Models.NONE


_NOTHING = Affects.NOTHING
_NEWS, _RECBOLE, _EVERY = Models.NEWS, Models.RECBOLE, Models.EVERY
_PLACE = or_(values.PLACE, None)


def _of_run(name: str, rule: Rule | None = None, **row: Any) -> Setting:
    """A setting of the whole run that changes no result."""
    return Setting(name, rule, of_run=True, affects=_NOTHING, **row)


def _all(rule: Rule | None, *names: str, **row: Any) -> list[Setting]:
    """Settings that accept the same values."""
    return [Setting(name, rule, **row) for name in names]


@cache
def recbole_lists() -> dict[str, tuple[str, ...]]:
    """RecBole's lists of setting names, parsed from source: importing them would load torch."""
    file = recbole_folder() / "utils" / "argument_list.py"
    tree = ast.parse(file.read_text(encoding="utf-8"))
    lists = [node for node in tree.body if isinstance(node, ast.Assign)]
    return {ast.unparse(each.targets[0]): tuple(ast.literal_eval(each.value)) for each in lists}


# settings of RecBole's data sets
_FIELDS = {  # fixed, as columns of the files are
    **{"USER_ID_FIELD": "user_id", "ITEM_ID_FIELD": "item_id", "TIME_FIELD": "timestamp"},
    "LABEL_FIELD": "label",
}
_OF_TABLES = (  # for files with one interaction per row, not for impressions
    *sorted({*recbole_lists()["dataset_arguments"]} - {*_FIELDS, "MAX_ITEM_LIST_LENGTH"}),
    *("numerical_features", "discretization", "kg_reverse_r"),
    *("entity_kg_num_interval", "relation_kg_num_interval"),
)
# RecBole's sequence transforms, except the one that runs user-defined code
_TRANSFORMS = ("mask_itemseq", "inverse_itemseq", "crop_itemseq", "reorder_itemseq")
_SAVED_DATA = ("save_dataset", "dataset_save_path", "save_dataloaders", "dataloaders_save_path")

RECBOLES: tuple[Setting, ...] = (
    # the data set, which is read once
    *(Setting(name, one_of(field), of_run=True) for name, field in _FIELDS.items()),
    Setting("MAX_ITEM_LIST_LENGTH", values.HISTORY_LENGTH, of_run=True, unread_by=_NEWS),
    *_all(None, *_OF_TABLES, of_run=True, unread_by=_EVERY),
    Setting("dataset", values.PLACE, of_run=True, known_to=_EVERY),
    _of_run("data_path", values.PLACE),
    *_all(None, *_SAVED_DATA, of_run=True, affects=_NOTHING, unread_by=_EVERY),
    Setting("transform", one_of(None, *_TRANSFORMS), of_run=True, unread_by=_NEWS),
    Setting("train_neg_sample_args", values.SAMPLES, of_run=True, unread_by=_NEWS),
    *_all(None, "encoding", "tail_ratio", known_to=_EVERY, unread_by=_EVERY),
    # the run
    # systems share teachers; fingerprints include each stage's class
    _of_run("model", values.TEXT, known_to=_EVERY),
    Setting("seed", values.COUNT),
    Setting("reproducibility", values.SWITCH),
    _of_run("config_file", unread_by=_EVERY),
    _of_run("checkpoint_dir", values.PLACE),
    _of_run("state", values.LEVEL),
    _of_run("log_wandb", values.SWITCH),
    _of_run("wandb_project", values.TEXT),
    Setting("show_progress", values.SWITCH, affects=_NOTHING),
    Setting("loss_decimal_place", values.DECIMAL_PLACES, affects=_NOTHING),
    # the device
    _of_run("gpu_id", values.DEVICES),
    _of_run("use_gpu", values.SWITCH),
    Setting("enable_amp", values.SWITCH, of_run=True),  # a stage has `precision` instead
    Setting("enable_scaler", values.SWITCH, of_run=True, unread_by=_NEWS),
    # training
    Setting("learner", values.LEARNER),
    Setting("learning_rate", values.ABOVE_ZERO),
    Setting("weight_decay", values.NOT_NEGATIVE),
    Setting("clip_grad_norm", values.CLIPPING),
    Setting("require_pow", values.SWITCH, unread_by=_NEWS),
    Setting("shuffle", values.SWITCH),
    Setting("train_batch_size", values.POSITIVE),
    *_all(values.COUNT, "epochs", "eval_step", "stopping_step"),
    Setting("worker", values.WORKERS, affects=_NOTHING),
    # evaluation, with the same metrics for all stages
    Setting("eval_batch_size", values.POSITIVE, affects=_NOTHING),
    _of_run("topk", values.CUTOFFS),  # `valid_metric` chooses the weights
    Setting("valid_metric", values.TEXT),
    _of_run("metrics"),  # checked by `map_metrics`
    Setting("valid_metric_bigger", one_of(True), of_run=True),  # for all metrics
    # beyond its one mode, which is checked, nothing in it has an effect
    Setting("eval_args", values.EVALUATION, of_run=True, unread_by=_EVERY),
    Setting("repeatable", values.SWITCH, of_run=True, unread_by=_NEWS),
    Setting("metric_decimal_place", values.DECIMAL_PLACES, of_run=True),
    # settings that RecBole's models read, but RecBole declares for none or only some of them
    Setting("loss_type", values.TEXT, known_to=_RECBOLE),
    Setting("embedding_size", values.SIZE, known_to=_RECBOLE),
    *_all(values.SWITCH, "double_tower", "has_residual", known_to=_RECBOLE),
    *_all(values.SWITCH, "contrast", "use_filter", known_to=_RECBOLE),
    Setting("reg_weight", values.NOT_NEGATIVE, known_to=_RECBOLE),
    *_all(None, "norm", "sim", "tau", "cin", known_to=_RECBOLE),
    Setting("selected_features", list_of(values.TEXT, may_be_empty=True)),
)

OURS: tuple[Setting, ...] = (
    # the data
    Setting("history_length", values.HISTORY_LENGTH),
    Setting("negatives", values.NEGATIVES),
    Setting("news_text", one_of("title", "title_abstract")),
    *_all(an_int(1, 100_000), "max_title_length", "max_abstract_length", "max_body_length"),
    *_all(values.NOT_NEGATIVE, "category_weight", "subcategory_weight"),
    Setting("popularity_windows", values.WINDOWS),
    *_all(values.COUNT, "popularity_hidden", "popularity_delay"),
    Setting("popularity_from", one_of("stream", "train")),
    *_all(one_of("none", "added"), "popularity", "reader", "context", "item_text_ids"),
    Setting("history_from", one_of("given", "log")),
    Setting("boosting_rounds", values.POSITIVE),
    # the model
    Setting("views", values.VIEWS),
    Setting("news_encoder", one_of("plm", "words")),
    Setting("word_encoder", one_of("cnn", "self_attention")),
    # digests of the language model and of the data cover their content
    *_all(_PLACE, "word_vectors", "post_train_corpus", affects=_NOTHING),
    *_all(_PLACE, "vectors", "item_text"),
    # specific to single recommenders
    Setting("user_combination", one_of("ini", "con")),
    Setting("plm", values.PLACE),
    Setting("matryoshka_layers", or_(list_of(values.LAYERS, may_be_empty=True), None)),
    Setting("matryoshka_dims", or_(list_of(values.SIZE, may_be_empty=True), None)),
    Setting("vocabulary_min_articles", or_(values.POSITIVE, None)),
    Setting("num_hidden_layers", or_(an_int(0, 1_000), None)),
    Setting("finetune_layers", or_(values.COUNT, "all")),
    Setting("text_prefix", values.ANY_TEXT),
    Setting("head_init", one_of("pretrained", "random")),
    Setting("news_pooling", one_of("attention", "mean", "cls", "last", "weighted_mean")),
    Setting("user_encoder", one_of("attention", "self_attention")),
    *_all(values.SIZE, "news_dim", "query_dim", "word_dim", "category_dim"),
    *_all(values.PROBABILITY, "plm_dropout", "word_dropout", "user_mask"),
    Setting("history_padding", one_of("masked", "learned")),
    Setting("use_cache", one_of("auto", True, False), affects=_NOTHING),
    Setting("history_cache_steps", values.COUNT),
    Setting("cache_precision", one_of("fp32", "fp16", "bf16")),
    # training
    *_all(or_(values.NOT_NEGATIVE, None), "plm_learning_rate", "memory_weight"),
    *_all(values.SWITCH, "amsgrad", "group_clicks", "centred", "shared_projection"),
    *_all(values.SWITCH, "mask_padding_in_news_pooling", "mask_padding_in_embedding_loss"),
    *_all(or_(values.POSITIVE, None), "max_steps", "eval_steps"),
    Setting("accumulation_steps", an_int(1, 10_000)),
    Setting("warmup_steps", or_(values.COUNT, None)),
    Setting("precision", one_of(None, "fp32", "bf16", "fp16", "auto")),
    Setting("save_steps", or_(values.COUNT, None), affects=_NOTHING),
    _of_run("process_timeout", values.ABOVE_ZERO),
    # stages
    _of_run("fresh", values.SWITCH),
    _of_run("stage", or_(values.TEXT, None)),
    # the fingerprint of the stage in use covers it
    Setting("update_from", _PLACE, of_run=True, affects=Affects.STAGES),
    Setting("train_since", or_(values.NOT_NEGATIVE, None), of_run=True),
    *_all(values.SWITCH, "stage_one", "stage_two", of_run=True, affects=Affects.STAGES),
    # post-training
    Setting("post_train_news", one_of("train", "archive", "all")),
    Setting("negative_titles", one_of("random", "in_batch")),
    Setting("teacher_checkpoint_interval", values.POSITIVE, of_run=True),
    # teachers and distillation
    Setting("num_teachers", an_int(1, 1_000), of_run=True, affects=Affects.STUDENTS),
    Setting(
        "teacher_num_hidden_layers", or_(values.LAYERS, None), of_run=True, affects=Affects.STUDENTS
    ),
    Setting("teacher_vectors", _PLACE, of_run=True, affects=Affects.STUDENTS),
    Setting("student_init", one_of("plm", "teacher")),
    Setting("layer_mapping", one_of("uniform", "last")),
    *_all(values.ABOVE_ZERO, "temperature", "boosting_rate"),
    Setting("teacher_weighting", one_of("softmax", "equal", "best", "inverse_error")),
    *_all(values.NOT_NEGATIVE, "distillation_loss_weight", "embedding_loss_weight"),
    *_all(values.NOT_NEGATIVE, "hidden_loss_weight", "attention_loss_weight"),
    *_all(values.NOT_NEGATIVE, "news_vector_loss_weight", "user_loss_weight"),
    *_all(values.NOT_NEGATIVE, "target_loss_weight", "teacher_target_loss_weight"),
    Setting("gradient_momentum", values.SHARE),
    Setting("embedding_loss", or_(one_of("mse", "balanced"), None)),
    # results
    _of_run("log_dir", _PLACE),
    _of_run("result_file", _PLACE, known_to=_EVERY),
    _of_run("eval_dump", _PLACE),
    _of_run("submission", or_(values.ZIP_FILE, None), known_to=_EVERY),
    _of_run("leaderboard", one_of("mind", "ebnerd")),
    _of_run("rerank", values.RERANKERS),
)

_BY_NAME = {each.name: each for each in (*RECBOLES, *OURS)}
NAMES = frozenset(_BY_NAME)  # without users' own settings


def setting(name: str) -> Setting:
    """The row of a setting; a user's own setting gets a default row.

    >>> setting("topk").of_run, setting("category_loss_weight").of_run
    (True, False)
    """
    return _BY_NAME.get(name) or Setting(name)


def unfit_value(name: str, value: Any, default: Any = None) -> str | None:
    """Error message for a value of a setting with this default; None if it is valid."""
    return unfit(setting(name).rule or rule_by_default(default), value)


def known_without_yaml(models: Models) -> list[str]:
    """Settings that this kind of model accepts although no yaml declares them."""
    return [each.name for each in _BY_NAME.values() if models in each.known_to]


def unread_by(models: Models) -> frozenset[str]:
    """RecBole's settings that this kind of model ignores."""
    return frozenset(each.name for each in _BY_NAME.values() if models in each.unread_by)


def affects_result(name: str, has_teachers: bool) -> bool:
    """Whether a different value changes the result of a stage with, or without, teachers."""
    affects = setting(name).affects
    return affects is Affects.RESULT or (affects is Affects.STUDENTS and has_teachers)


class Key(NamedTuple):
    """A setting of one stage; with stage None, of the run, and the fallback of every stage.

    >>> str(Key("finetune_teacher", "epochs")), str(Key(None, "epochs"))
    ('finetune_teacher_epochs', 'epochs')
    """

    stage: str | None
    name: str

    def __str__(self) -> str:
        return f"{self.stage}_{self.name}" if self.stage else self.name


def parse_key(text: str, stages: Collection[str]) -> Key:
    """Split a stage's name, if any, off the name of a setting; the longest one, if several fit.

    >>> parse_key("warm_up_epochs", ["warm", "warm_up"])
    Key(stage='warm_up', name='epochs')
    >>> parse_key("finetune_layers", ["finetune"])  # a setting of the table
    Key(stage=None, name='finetune_layers')
    """
    fitting = [stage for stage in stages if text.startswith(f"{stage}_")]
    if not fitting or text in _BY_NAME:
        return Key(None, text)
    stage = max(fitting, key=len)
    return Key(stage, text.removeprefix(f"{stage}_"))


def seen_by(stage: str, values: Mapping[Key, Any]) -> dict[str, Any]:
    """Settings of a run as one of its stages sees them: its own values, else those of the run.

    Teachers have ``teacher_num_hidden_layers`` and ``teacher_vectors`` as ``num_hidden_layers`` and
    ``vectors``, unless a stage has values of its own.

    >>> seen_by("warm_up", {Key(None, "epochs"): 4, Key("warm_up", "epochs"): 1})
    {'epochs': 1}
    """
    seen = {key.name: value for key, value in values.items() if key.stage is None}
    if stage.endswith(OF_TEACHERS):
        seen |= {name: seen[of_all] for name, of_all in SHARED.items() if of_all in seen}
    return seen | {key.name: value for key, value in values.items() if key.stage == stage}


def unknown_setting(
    key: Key, declared: Mapping[str, Any], stages: Collection[str] = ()
) -> str | None:
    """Error message for an undeclared name or a run-wide setting of a stage; None if valid."""
    if key.name in declared:
        if not (key.stage and setting(key.name).of_run):
            return None
        return f"holds for the whole run, not for a stage. Set {key.name}"
    per_stage = [each for each in declared if not setting(each).of_run]
    candidates = [*declared, *(f"{stage}_{name}" for stage in stages for name in per_stage)]
    hint = suggest(str(key), candidates) or " Declare a new one in the yaml beside the model"
    return f"is no setting.{hint}"
