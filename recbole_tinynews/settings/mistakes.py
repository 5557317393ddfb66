"""What is wrong with the settings of a run, all of it at once."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from recbole_tinynews.settings.declared import NAMES
from recbole_tinynews.settings.layers import Layer
from recbole_tinynews.settings.names import plain_name, settings_of_stage, unknown_setting
from recbole_tinynews.settings.values import Rule, unfit_value

# The entries that RecBole's code reads of these settings; it drops a misspelt one without a word.
_ENTRIES = {
    "eval_args": ("split", "group_by", "order", "mode"),
    "train_neg_sample_args": ("distribution", "sample_num", "alpha", "dynamic", "candidate_num"),
}

_POST_TRAINING = ("post_train_teacher", "post_train_student")
_RANK_NO_NEWS = (*_POST_TRAINING, "pretrain_teacher")


def name_mistakes(
    layers: Iterable[Layer], declared: Mapping[str, Any], stages: Collection[str]
) -> Iterator[str]:
    """Settings that nobody declared, with the nearest one that somebody did."""
    for source, values in layers:
        for name, value in values.items():
            mistake = unknown_setting(name, declared, stages)
            if mistake:
                yield f"{name} ({source}) {mistake}"
            for entry in value if name in _ENTRIES and isinstance(value, Mapping) else ():
                if entry not in _ENTRIES[name]:
                    known = ", ".join(_ENTRIES[name])
                    yield f"{name} ({source}) has no entry {entry}: write some of {known}"


def switch_mistakes(
    switches: Iterable[str], declared: Mapping[str, Any], stages: Collection[str]
) -> Iterator[str]:
    """Flags without a value that are no switches."""
    for name in switches:
        plain = plain_name(name, declared, stages)
        if plain in declared and not isinstance(declared[plain], bool):
            yield f"--{name} (command line) needs a value: write --{name}=value"


def value_mistakes(
    final: Mapping[str, Any],
    layers: Iterable[Layer],
    defaults: Mapping[str, Any],
    rules: Mapping[str, Rule],
    stages: Collection[str],
) -> Iterator[str]:
    """Settings whose values don't fit, with where the value comes from."""
    sources = {name: layer.source for layer in layers for name in layer.values}
    for name, value in final.items():
        if isinstance(value, str) and value == "None" and name in sources:
            yield f"{name} ({sources[name]}) got the text 'None': write ~ or null for no value"
            continue
        plain = plain_name(name, defaults, stages)
        mistake = unfit_value(plain, value, rules, defaults.get(plain))
        if mistake:
            yield f"{name} ({sources.get(name, 'default')}) {mistake}"


def contradictions(final: Mapping[str, Any], declared: Collection[str]) -> Iterator[str]:
    """Settings that fit one by one and not together, before teachers are trained for nothing.

    Args:
        final: the values of all settings, under the names of stages too.
        declared: the settings of the model, by their plain names.
    """
    yield from _without_loss(final, declared)
    if final.get("submission") and final.get("stage") in _RANK_NO_NEWS:
        yield (
            f"submission={final['submission']} expects a stage that ranks news, and "
            f"stage={final['stage']} reads texts alone. Set stage=~ or submission=~"
        )
    if "layer_mapping" in final:
        yield from _incomparable(final)
    for stage in _POST_TRAINING:
        settings = settings_of_stage(stage, final)
        kind, corpus = settings.get("negative_titles"), settings.get("post_train_corpus")
        if kind == "category" and corpus:
            yield (
                f"{stage}_negative_titles=category expects articles with a category, and "
                f"{corpus} (post_train_corpus) has none. Set negative_titles to random, in_batch "
                "or hard, or post_train_corpus=~ to post-train on the data set's own news"
            )
        if kind == "in_batch" and settings["train_batch_size"] == 1:
            yield (
                f"{stage}_negative_titles=in_batch expects a {stage}_train_batch_size of at least "
                "2, got 1: an article has no other one in its batch"
            )


def _without_loss(final: Mapping[str, Any], declared: Collection[str]) -> Iterator[str]:
    """Stages of a student all of whose losses have the weight 0."""
    if "target_loss_weight" not in declared:  # then nothing takes the target loss away
        return
    weights = [
        name
        for name in declared
        if name.endswith("_loss_weight") and name != "teacher_target_loss_weight"  # a teacher's own
    ]
    for settings, switch, prefix, names in (
        (
            settings_of_stage("post_train_student", final),
            "stage_one",
            "post_train_student_",
            [name for name in weights if name in NAMES],  # a loss of a user's class is not there
        ),
        (final, "stage_two", "", weights),
    ):
        # a system without the switch has the last stage, and no student before it
        on = settings.get(switch, switch == "stage_two")
        if on and not any(settings[name] for name in names):
            listed = ", ".join(prefix + name for name in names)
            instead = f", or set {switch}=false" if switch in settings else ""
            yield f"{listed} are all 0, which leaves no loss. Raise one{instead}"


def _incomparable(final: Mapping[str, Any]) -> Iterator[str]:
    """What keeps a student from comparing its inner states with its teachers', token by token."""
    teacher = settings_of_stage("finetune_teacher", final)
    for name in ("max_title_length", "mask_padding_in_news_pooling"):
        if teacher[name] != final[name]:
            yield (
                f"finetune_teacher_{name} expects {final[name]}, as the student has, got "
                f"{teacher[name]}: their states are compared token by token. Set both alike"
            )
    if final["history_cache_steps"]:
        yield (
            f"history_cache_steps expects 0, got {final['history_cache_steps']}: the inner states "
            "of all news of a batch are compared, and vectors of earlier steps have none"
        )


def process_mistakes(final: Mapping[str, Any]) -> Iterator[str]:
    """Several processes were asked for, by RecBole's settings or by torchrun."""
    one = {"nproc": (None, 1), "world_size": (None, -1, 0, 1), "local_rank": (None, 0)}
    asked = {name: final.get(name) for name in one}
    if "LOCAL_RANK" in os.environ:  # torchrun's
        asked["WORLD_SIZE"] = int(os.environ.get("WORLD_SIZE", 1))
    several = [f"{name}={n}" for name, n in asked.items() if n not in one.get(name, (1,))]
    if several:
        yield (
            f"{', '.join(several)}: training in several processes is not yet supported. "
            "Run one process, on one GPU or on the CPU"
        )
