"""The table of settings: valid values, scope and effect. Defaults and meanings are in the yaml."""

from __future__ import annotations

from enum import Enum, Flag, auto
from typing import Any, NamedTuple

from recbole_tinynews.settings.recbole_lists import recbole_lists
from recbole_tinynews.settings.values import (
    ABOVE_ZERO,
    ACCUMULATED,
    ANY_TEXT,
    CLIPPING,
    COUNT,
    CUTOFFS,
    DECIMAL_PLACES,
    DEVICES,
    EVALUATION,
    FIELD,
    HISTORY_LENGTH,
    LAYERS,
    LAYERS_OR_NONE,
    LEARNER,
    LEVEL,
    NEGATIVES,
    NOT_NEGATIVE,
    PLACE,
    POSITIVE,
    PROBABILITY,
    SAMPLES,
    SEED,
    SHARE,
    SIZE,
    SWITCH,
    TEACHERS,
    TEXT,
    TEXT_LENGTH,
    VIEWS,
    WINDOWS,
    WORKERS,
    ZIP_FILE,
    Rule,
    an_int,
    list_of,
    one_of,
    or_,
)


class Models(Flag):
    """Kinds of models that have different settings."""

    NONE = 0
    NEWS = auto()  # news recommenders
    RECBOLE_ON_IMPRESSIONS = auto()
    RECBOLE = auto()  # RecBole's own models, on RecBole's data
    ON_IMPRESSIONS = NEWS | RECBOLE_ON_IMPRESSIONS
    OF_RECBOLE = RECBOLE_ON_IMPRESSIONS | RECBOLE
    EVERY = NEWS | RECBOLE_ON_IMPRESSIONS | RECBOLE


class Scope(Enum):
    """Whether a stage may override the value."""

    RUN = auto()
    STAGE = auto()


class Affects(Enum):
    """What a different value changes, and so which fingerprints include the setting."""

    RESULT = auto()  # of every stage that reads it
    STUDENTS = auto()  # of stages with teachers only
    STAGES = auto()  # which stages a system has; fingerprints cover those
    NOTHING = auto()  # except display, storage or speed


class Setting(NamedTuple):
    """One row of the table; a user's own setting has the default row.

    Attributes:
        rule: accepted values; None: those of the default's type.
        checked_for: models whose values the rule checks.
        known_to: models that accept it although no yaml declares it.
        unread_by: models that ignore it: a value draws a warning, fingerprints leave it out.
        in_benchmarks: for settings that a benchmark sets itself: what to do instead.
    """

    name: str
    rule: Rule | None = None
    checked_for: Models = Models.EVERY
    scope: Scope = Scope.STAGE
    affects: Affects = Affects.RESULT
    known_to: Models = Models.NONE
    unread_by: Models = Models.NONE
    in_benchmarks: str = ""


_RUN, _NOTHING, _EVERY = Scope.RUN, Affects.NOTHING, Models.EVERY
_NEWS, _RECBOLE_ON_IMPRESSIONS, _IMPRESSIONS = (
    Models.NEWS,
    Models.RECBOLE_ON_IMPRESSIONS,
    Models.ON_IMPRESSIONS,
)


def _rows(*names: str, **row: Any) -> list[Setting]:
    """Rows that differ only in their names."""
    return [Setting(name, **row) for name in names]


# settings of RecBole's data sets
_FIELDS = ("USER_ID_FIELD", "ITEM_ID_FIELD", "LABEL_FIELD", "RATING_FIELD")
_SEQUENCE_FIELDS = ("NEG_PREFIX", "LIST_SUFFIX", "ITEM_LIST_LENGTH_FIELD", "POSITION_FIELD")
_OF_TABLES = (  # for files with one interaction per row, not for impressions
    *(
        name
        for name in recbole_lists()["dataset_arguments"]
        if name not in (*_FIELDS, *_SEQUENCE_FIELDS, "TIME_FIELD", "MAX_ITEM_LIST_LENGTH")
    ),
    *("numerical_features", "discretization", "kg_reverse_r"),
    *("entity_kg_num_interval", "relation_kg_num_interval"),
)
# RecBole's sequence transforms, except the one that runs user-defined code
_TRANSFORMS = ("mask_itemseq", "inverse_itemseq", "crop_itemseq", "reorder_itemseq")
_SAVED_DATA = ("save_dataset", "dataset_save_path", "save_dataloaders", "dataloaders_save_path")

RECBOLES: tuple[Setting, ...] = (
    # the data set, which is read once
    *_rows(*_FIELDS, rule=FIELD, checked_for=_IMPRESSIONS, scope=_RUN),
    Setting("TIME_FIELD", one_of("timestamp"), _IMPRESSIONS, scope=_RUN),  # a column of the files
    *_rows(*_SEQUENCE_FIELDS, rule=FIELD, scope=_RUN, unread_by=_NEWS, checked_for=_IMPRESSIONS),
    Setting("MAX_ITEM_LIST_LENGTH", HISTORY_LENGTH, _IMPRESSIONS, scope=_RUN, unread_by=_NEWS),
    *_rows(*_OF_TABLES, scope=_RUN, unread_by=_IMPRESSIONS),
    Setting("dataset", PLACE, scope=_RUN, known_to=_EVERY),
    Setting("data_path", PLACE, scope=_RUN, affects=_NOTHING),
    *_rows(*_SAVED_DATA, scope=_RUN, affects=_NOTHING, unread_by=_IMPRESSIONS),
    Setting("transform", one_of(None, *_TRANSFORMS), scope=_RUN, unread_by=_NEWS),
    Setting("train_neg_sample_args", SAMPLES, _RECBOLE_ON_IMPRESSIONS, scope=_RUN, unread_by=_NEWS),
    *_rows("encoding", "tail_ratio", known_to=_EVERY, unread_by=_IMPRESSIONS),
    # RecBole's old names
    *_rows("neg_sampling", "training_neg_sample_num", known_to=_EVERY, unread_by=_IMPRESSIONS),
    # the run
    Setting(
        "model",  # systems share teachers; fingerprints include each stage's class
        TEXT,
        scope=_RUN,
        affects=_NOTHING,
        known_to=_EVERY,
        in_benchmarks="Name systems with --systems",
    ),
    Setting("seed", SEED, in_benchmarks="Name seeds with --seeds"),
    Setting("reproducibility", SWITCH),
    Setting("config_files", scope=_RUN, affects=_NOTHING, known_to=_EVERY, unread_by=_EVERY),
    Setting("config_file", scope=_RUN, affects=_NOTHING, unread_by=_EVERY),
    Setting("checkpoint_dir", PLACE, scope=_RUN, affects=_NOTHING),
    Setting("state", LEVEL, scope=_RUN, affects=_NOTHING),
    Setting("log_wandb", SWITCH, scope=_RUN, affects=_NOTHING),
    Setting("wandb_project", TEXT, scope=_RUN, affects=_NOTHING),
    Setting("show_progress", SWITCH, affects=_NOTHING),
    Setting("loss_decimal_place", DECIMAL_PLACES, affects=_NOTHING),
    # the device
    Setting("gpu_id", DEVICES, scope=_RUN, affects=_NOTHING),
    Setting("use_gpu", SWITCH, scope=_RUN, affects=_NOTHING),
    # `process_mistakes` refuses more than one process
    Setting("local_rank", scope=_RUN, affects=_NOTHING, known_to=_EVERY),
    *_rows("nproc", "world_size", "ip", "port", scope=_RUN, affects=_NOTHING, known_to=_EVERY),
    *_rows("offset", "group_offset", scope=_RUN, affects=_NOTHING, known_to=_EVERY),
    Setting("enable_amp", SWITCH, scope=_RUN),  # a stage has `precision` instead
    Setting("enable_scaler", SWITCH, scope=_RUN, unread_by=_NEWS),
    # training
    Setting("learner", LEARNER),
    Setting("learning_rate", ABOVE_ZERO),
    Setting("weight_decay", NOT_NEGATIVE),
    Setting("clip_grad_norm", CLIPPING),
    Setting("require_pow", SWITCH, unread_by=_NEWS),
    Setting("shuffle", SWITCH),
    Setting("train_batch_size", POSITIVE),
    Setting("epochs", COUNT),
    Setting("eval_step", COUNT),
    Setting("stopping_step", COUNT),
    Setting("worker", WORKERS, affects=_NOTHING),
    # evaluation, with the same metrics for all stages
    Setting("eval_batch_size", POSITIVE, affects=_NOTHING),
    Setting(
        "topk", CUTOFFS, _IMPRESSIONS, scope=_RUN, affects=_NOTHING
    ),  # `valid_metric` chooses the weights
    Setting("valid_metric", TEXT, _IMPRESSIONS),
    Setting("metrics", scope=_RUN, affects=_NOTHING),  # checked by `map_metrics`
    Setting("valid_metric_bigger", one_of(True), _IMPRESSIONS, scope=_RUN),  # for all metrics
    Setting("eval_args", EVALUATION, _IMPRESSIONS, scope=_RUN),
    Setting("repeatable", SWITCH, scope=_RUN, unread_by=_NEWS),
    Setting("metric_decimal_place", DECIMAL_PLACES, scope=_RUN),
    # settings that RecBole's models read, but RecBole declares for none or only some of them
    Setting("loss_type", TEXT, known_to=Models.OF_RECBOLE),
    Setting("embedding_size", SIZE, known_to=Models.OF_RECBOLE),
    *_rows(
        "double_tower",
        "has_residual",
        "contrast",
        "use_filter",
        "convert_token_to_onehot",
        rule=SWITCH,
        known_to=Models.OF_RECBOLE,
    ),
    Setting("reg_weight", NOT_NEGATIVE, known_to=Models.OF_RECBOLE),
    *_rows("norm", "sim", "tau", "cin", known_to=Models.OF_RECBOLE),
    *_rows(
        "token_num_threshold",
        "xgb_early_stopping_rounds",
        rule=COUNT,
        known_to=Models.OF_RECBOLE,
    ),
    Setting("selected_features", list_of(FIELD, may_be_empty=True), _RECBOLE_ON_IMPRESSIONS),
    # values that RecBole computes and stores among the settings
    *_rows("device", "single_spec", "eval_type", affects=_NOTHING),
)

OURS: tuple[Setting, ...] = (
    # the data
    Setting("history_length", HISTORY_LENGTH, _IMPRESSIONS),
    Setting("negatives", NEGATIVES, _NEWS),
    Setting("news_text", one_of("title", "title_abstract"), _NEWS),
    Setting("max_title_length", TEXT_LENGTH, _NEWS),
    Setting("max_abstract_length", TEXT_LENGTH, _NEWS),
    Setting("max_body_length", TEXT_LENGTH, _NEWS),
    Setting("category_weight", NOT_NEGATIVE, _NEWS),
    Setting("subcategory_weight", NOT_NEGATIVE, _NEWS),
    Setting("popularity", one_of("none", "added", "gated", "offset"), _NEWS),
    Setting("popularity_windows", WINDOWS, _NEWS),
    Setting("popularity_hidden", COUNT, _NEWS),
    Setting("popularity_delay", COUNT, _NEWS),
    Setting("popularity_from", one_of("stream", "train"), _NEWS),
    Setting("popularity_dim", SIZE, _NEWS),
    Setting("popularity_of_clicks", SWITCH, _NEWS),
    Setting("boosting_rounds", POSITIVE, _NEWS),
    Setting("boosting_rate", ABOVE_ZERO, _NEWS),
    Setting("impression_negatives", one_of(None, True, False), _RECBOLE_ON_IMPRESSIONS),
    # the model
    Setting("views", VIEWS, _NEWS),
    Setting("news_encoder", one_of("plm", "words"), _NEWS),
    Setting("word_encoder", one_of("cnn", "self_attention"), _NEWS),
    # the language model's digest covers its content
    Setting("word_vectors", or_(PLACE, None), _NEWS, affects=_NOTHING),
    Setting("word_dim", SIZE, _NEWS),
    Setting("word_dropout", PROBABILITY, _NEWS),
    Setting("category_dim", SIZE, _NEWS),
    # specific to single recommenders
    Setting("user_combination", one_of("ini", "con"), _NEWS),
    Setting("user_mask", PROBABILITY, _NEWS),
    Setting("user_dim", SIZE, _NEWS),
    Setting("head_dim", SIZE, _NEWS),
    Setting("recent_clicks", POSITIVE, _NEWS),
    Setting("user_layers", POSITIVE, _NEWS),
    Setting("context_codes", SIZE, _NEWS),
    Setting("code_dim", SIZE, _NEWS),
    Setting("plm", PLACE, _NEWS),
    Setting("matryoshka_layers", or_(list_of(LAYERS, may_be_empty=True), None), _NEWS),
    Setting("matryoshka_dims", or_(list_of(SIZE, may_be_empty=True), None), _NEWS),
    Setting("vocabulary_min_articles", or_(POSITIVE, None), _NEWS),
    Setting("num_hidden_layers", or_(LAYERS_OR_NONE, None), _NEWS),
    Setting("finetune_layers", or_(COUNT, "all"), _NEWS),
    Setting("lora_rank", an_int(0, 65_536), _NEWS),
    Setting("text_prefix", ANY_TEXT, _NEWS),
    Setting("head_init", one_of("pretrained", "random"), _NEWS),
    Setting("centred", SWITCH, _NEWS),
    Setting("news_pooling", one_of("attention", "mean", "cls"), _NEWS),
    Setting("user_encoder", one_of("attention", "self_attention"), _NEWS),
    Setting("news_dim", SIZE, _NEWS),
    Setting("query_dim", SIZE, _NEWS),
    Setting("plm_dropout", PROBABILITY, _NEWS),
    Setting("mask_padding_in_news_pooling", SWITCH, _NEWS),
    Setting("history_padding", one_of("masked", "learned"), _NEWS),
    Setting("use_cache", one_of("auto", True, False), _NEWS, affects=_NOTHING),
    Setting("history_cache_steps", COUNT, _NEWS),
    Setting("cache_precision", one_of("fp32", "fp16", "bf16"), _NEWS),
    Setting("cache_budget", or_(NOT_NEGATIVE, None), _NEWS, affects=_NOTHING),
    # training
    Setting("plm_learning_rate", or_(NOT_NEGATIVE, None), _NEWS),
    Setting("amsgrad", SWITCH, _NEWS),
    Setting("max_steps", or_(POSITIVE, None), _NEWS),
    Setting("accumulation_steps", ACCUMULATED, _NEWS),
    Setting("warmup_steps", or_(COUNT, None), _NEWS),
    Setting("precision", one_of(None, "fp32", "bf16", "fp16", "auto"), _NEWS),
    Setting("eval_steps", or_(POSITIVE, None), _NEWS),
    Setting("save_steps", or_(COUNT, None), _NEWS, affects=_NOTHING),
    Setting("process_timeout", ABOVE_ZERO, _NEWS, scope=_RUN, affects=_NOTHING),
    # stages
    Setting(
        "fresh",
        SWITCH,
        _IMPRESSIONS,
        scope=_RUN,
        affects=_NOTHING,
        in_benchmarks=(
            "Systems share their stages: name another --checkpoint_dir, or delete that folder"
        ),
    ),
    Setting(
        "stage",
        or_(TEXT, None),
        _NEWS,
        scope=_RUN,
        affects=_NOTHING,
        in_benchmarks="Every system is run to its end",
    ),
    Setting("stage_one", SWITCH, _NEWS, scope=_RUN, affects=Affects.STAGES),
    Setting("stage_two", SWITCH, _NEWS, scope=_RUN, affects=Affects.STAGES),
    # post-training
    Setting(
        "post_train_corpus", or_(PLACE, None), _NEWS, affects=_NOTHING
    ),  # the digest of the data covers its content
    Setting("post_train_news", one_of("train", "all"), _NEWS),
    Setting("negative_titles", one_of("random", "category", "in_batch", "hard"), _NEWS),
    Setting("teacher_checkpoint_interval", POSITIVE, _NEWS, scope=_RUN),
    # teachers and distillation
    Setting("student", TEXT, _NEWS, scope=_RUN, affects=Affects.STUDENTS),
    Setting("teacher", TEXT, _NEWS, scope=_RUN, affects=Affects.STUDENTS),
    Setting("num_teachers", TEACHERS, _NEWS, scope=_RUN, affects=Affects.STUDENTS),
    Setting(
        "teacher_num_hidden_layers",
        or_(LAYERS, None),
        _NEWS,
        scope=_RUN,
        affects=Affects.STUDENTS,
    ),
    Setting("student_init", one_of("plm", "teacher"), _NEWS),
    Setting("layer_mapping", one_of("uniform", "last"), _NEWS),
    Setting("temperature", ABOVE_ZERO, _NEWS),
    Setting("teacher_weighting", one_of("softmax", "equal", "best", "inverse_error"), _NEWS),
    Setting("distillation_loss_weight", NOT_NEGATIVE, _NEWS),
    Setting("embedding_loss_weight", NOT_NEGATIVE, _NEWS),
    Setting("hidden_loss_weight", NOT_NEGATIVE, _NEWS),
    Setting("attention_loss_weight", NOT_NEGATIVE, _NEWS),
    Setting("news_vector_loss_weight", NOT_NEGATIVE, _NEWS),
    Setting("user_loss_weight", NOT_NEGATIVE, _NEWS),
    Setting("target_loss_weight", NOT_NEGATIVE, _NEWS),
    Setting("topic_loss_weight", NOT_NEGATIVE, _NEWS),
    Setting("disagreement_loss_weight", NOT_NEGATIVE, _NEWS),
    Setting("teacher_target_loss_weight", NOT_NEGATIVE, _NEWS),
    Setting("gradient_momentum", SHARE, _NEWS),
    Setting("embedding_loss", or_(one_of("mse", "balanced"), None), _NEWS),
    Setting("shared_projection", SWITCH, _NEWS),
    Setting("mask_padding_in_embedding_loss", SWITCH, _NEWS),
    # results
    Setting("show_settings", one_of("changed", "all"), _IMPRESSIONS, scope=_RUN, affects=_NOTHING),
    Setting("log_dir", or_(PLACE, None), _IMPRESSIONS, scope=_RUN, affects=_NOTHING),
    Setting(
        "result_file",
        or_(PLACE, None),
        scope=_RUN,
        affects=_NOTHING,
        known_to=_EVERY,
        in_benchmarks="Results go into --output",
    ),
    Setting(
        "eval_dump",
        or_(PLACE, None),
        scope=_RUN,
        affects=_NOTHING,
        in_benchmarks="Metrics of each impression go into --output",
    ),
    Setting(
        "submission",
        or_(ZIP_FILE, None),
        _IMPRESSIONS,
        scope=_RUN,
        affects=_NOTHING,
        known_to=_EVERY,
        in_benchmarks="Submit a system by run_recbole.py, which finds its stages finished",
    ),
    Setting("leaderboard", one_of("mind", "ebnerd"), scope=_RUN, affects=_NOTHING),
)

_BY_NAME = {each.name: each for each in (*RECBOLES, *OURS)}
NAMES = frozenset(_BY_NAME)  # without users' own settings


def setting(name: str) -> Setting:
    """The row of a setting; a user's own setting gets a default row.

    >>> setting("topk").scope, setting("category_loss_weight").scope
    (<Scope.RUN: 1>, <Scope.STAGE: 2>)
    """
    return _BY_NAME.get(name) or Setting(name)


def rules_for(models: Models) -> dict[str, Rule]:
    """Rules for the settings of this kind of model, by name."""
    return {
        each.name: each.rule
        for each in _BY_NAME.values()
        if each.rule is not None and models in each.checked_for
    }


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
