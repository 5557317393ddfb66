"""What is wrong with the settings of a run, all of it at once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from recbole_tinynews.settings.names import (
    POST_TRAINING,
    plain_name,
    settings_of_stage,
    unknown_setting,
)
from recbole_tinynews.settings.values import Rule, unfit_value

# The entries that RecBole's code reads of these settings; it drops a misspelt one without a word.
_ENTRIES = {
    "eval_args": ("split", "group_by", "order", "mode"),
    "train_neg_sample_args": ("distribution", "sample_num", "alpha", "dynamic", "candidate_num"),
}

_LOSS_WEIGHTS = tuple(
    f"{loss}_loss_weight" for loss in ("distillation", "hidden", "attention", "embedding", "target")
)


class Layer(NamedTuple):
    """Settings that came together, and where from."""

    source: str
    values: Mapping[str, Any]


def name_mistakes(
    layers: Iterable[Layer], declared: Mapping[str, Any], with_stages: bool
) -> Iterator[str]:
    """Settings that nobody declared, with the nearest one that somebody did."""
    for source, values in layers:
        for name, value in values.items():
            mistake = unknown_setting(name, declared, with_stages)
            if mistake:
                yield f"{name} ({source}) {mistake}"
            for entry in value if name in _ENTRIES and isinstance(value, Mapping) else ():
                if entry not in _ENTRIES[name]:
                    known = ", ".join(_ENTRIES[name])
                    yield f"{name} ({source}) has no entry {entry}: write some of {known}"


def switch_mistakes(switches: Iterable[str], declared: Mapping[str, Any]) -> Iterator[str]:
    """Flags without a value that are no switches."""
    for name in switches:
        plain = plain_name(name, declared)
        if plain in declared and not isinstance(declared[plain], bool):
            yield f"--{name} (command line) needs a value: write --{name}=value"


def value_mistakes(
    final: Mapping[str, Any],
    layers: Iterable[Layer],
    defaults: Mapping[str, Any],
    rules: Mapping[str, Rule],
) -> Iterator[str]:
    """Settings whose values don't fit, with where the value comes from."""
    sources = {name: layer.source for layer in layers for name in layer.values}
    for name, value in final.items():
        if isinstance(value, str) and value == "None" and name in sources:
            yield f"{name} ({sources[name]}) got the text 'None': write ~ or null for no value"
            continue
        plain = plain_name(name, defaults)
        mistake = unfit_value(plain, value, rules, defaults.get(plain))
        if mistake:
            yield f"{name} ({sources.get(name, 'default')}) {mistake}"


def contradictions(final: Mapping[str, Any]) -> Iterator[str]:
    """Settings that fit one by one and not together, before teachers are trained for nothing."""
    stage_one, stage_two = settings_of_stage("post_train_student", final), final
    for settings, switch, prefix in (
        (stage_one, "stage_one", "post_train_student_"),
        (stage_two, "stage_two", ""),
    ):
        weights = [name for name in _LOSS_WEIGHTS if name in settings]
        # a system without the switch has the last stage, and no student before it
        on = settings.get(switch, switch == "stage_two")
        if weights and on and not any(settings[name] for name in weights):
            names = ", ".join(prefix + name for name in weights)
            instead = f", or set {switch}=false" if switch in settings else ""
            yield f"{names} are all 0, which leaves no loss. Raise one{instead}"
    if "layer_mapping" in final:
        yield from _incomparable(final)
    for stage in POST_TRAINING:
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
