"""Which settings each row runs with, and a fingerprint of all that decides its result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from recbole_tinynews.benchmark.suite import Row, Suite
from recbole_tinynews.config import NewsConfig
from recbole_tinynews.files.array_cache import content_key
from recbole_tinynews.paths import packaged_folder
from recbole_tinynews.pipeline.factory import content_of_language_model, plm_source
from recbole_tinynews.pipeline.recipes import Recipes
from recbole_tinynews.pipeline.stage import Stage
from recbole_tinynews.pipeline.systems import system
from recbole_tinynews.registry import is_news_model, model_yaml_files, stage_yaml_files
from recbole_tinynews.settings.literals import read_yaml
from recbole_tinynews.settings.names import (
    recbole_model_settings,
    recbole_overall_settings,
    split_stage,
    unknown_setting,
)

# What a benchmark decides for each of its runs.
OURS = {
    "model": "Name systems with --systems",
    "seed": "Name seeds with --seeds",
    "result_file": "Results go into --output",
    "eval_dump": "Metrics of each impression go into --output",
    "fresh": "Systems share their stages: name another --checkpoint_dir, or delete that folder",
    "stage": "Every system is run to its end",
    "submission": "Submit a system by run_recbole.py, which finds its stages finished",
}


def row_settings(
    row: Row, model_class: type, suite: Suite, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Settings of a run: the suite's, under the command line's, under what makes the row.

    What is meant for all rows reaches those whose model has such a setting.
    """
    shared = {**suite.settings, **given}
    known = {name: value for name, value in shared.items() if knows(model_class, name)}
    return {"show_progress": False, **known, **row.settings}


def refuse_unknown(given: Mapping[str, Any], model_classes: Iterable[type]) -> None:
    """Refuse settings for all systems that none of them has, or that the benchmark decides.

    Raises:
        ValueError: with every one of them, and the nearest name.
    """
    classes = list(dict.fromkeys(model_classes))
    mistakes = [f"{name}: {OURS[name]}." for name in given if name in OURS]
    for name in given:
        if name not in OURS and classes and not any(knows(each, name) for each in classes):
            mistakes.append(f"{name} {_mistake(classes[-1], name)}.")
    if mistakes:
        raise ValueError("\n- ".join(["The settings for all systems don't fit:", *mistakes]))


def knows(model_class: type, name: str) -> bool:
    """Whether a model, or one of its stages, has a setting of this name."""
    return _mistake(model_class, name) is None


def _mistake(model_class: type, name: str) -> str | None:
    return unknown_setting(name, _declared(model_class), is_news_model(model_class))


@cache
def _declared(model_class: type) -> dict[str, Any]:
    """As ``NewsConfig`` has them for the model."""
    declared, files = recbole_overall_settings(), model_yaml_files(model_class)
    if is_news_model(model_class):
        overall = packaged_folder("properties") / "overall.yaml"
        files = [overall, *stage_yaml_files(), *files]
    else:
        declared |= recbole_model_settings()
        files = [packaged_folder("properties") / "recbole.yaml", *files]
    for file in files:
        declared |= {k: v for k, v in read_yaml(file).items() if split_stage(k)[0] is None}
    return declared


def result_fingerprint(config: NewsConfig) -> str:
    """Covers settings of all stages, the data, the language model and a user's own code."""
    return Recipes(FileContents(config)).of(system(config)).fingerprint


class FileContents:
    """What stages read, known by the files that it is made of: nothing is tokenised for a plan."""

    def __init__(self, config: NewsConfig) -> None:
        self.config = config

    def settings(self, stage: Stage) -> NewsConfig:
        """The stage's own, in a copy."""
        return self.config.for_stage(stage.name, stage.number)

    def data_content(self, model_class: type, config: NewsConfig) -> str:
        """A digest of the atomic files, and of the corpus where there is one."""
        final = config.final_config_dict
        corpus = [Path(config["post_train_corpus"])] if final.get("post_train_corpus") else []
        return content_key([_content_of_files(Path(config["data_path"])), *corpus])

    def language_model_content(self, config: NewsConfig) -> str:
        """A digest of its files, or its name on the hub; empty for RecBole's own models."""
        if not config.final_config_dict.get("plm"):
            return ""
        return _content_of_language_model(plm_source(config))


_content_of_language_model = cache(content_of_language_model)


@cache
def _content_of_files(folder: Path) -> str:
    files = sorted(file for file in folder.iterdir() if file.suffix in (".inter", ".item"))
    return content_key([part for file in files for part in (file.name, file)])
