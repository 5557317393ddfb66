"""The settings of each row, and a fingerprint of everything that decides its result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from recbole_tinynews.benchmark.suite import Row, Suite
from recbole_tinynews.config import NewsConfig
from recbole_tinynews.files.array_cache import content_key
from recbole_tinynews.pipeline.factory import content_of_language_model, source_of_texts
from recbole_tinynews.pipeline.fingerprints import Recipes
from recbole_tinynews.pipeline.stage import Stage
from recbole_tinynews.pipeline.systems import system
from recbole_tinynews.registry import declared_settings, stage_yaml_files
from recbole_tinynews.settings.declared import setting
from recbole_tinynews.settings.names import parse_key, unknown_setting

_NEWS_TO_READ = "post_train_news"  # stages without clicks have it in the digest of their tokens


def row_settings(
    row: Row, model_class: type, suite: Suite, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Settings of a run: the row's override the command line's, which override the suite's.

    Settings for all rows apply to the rows whose model has them.
    """
    shared = {**suite.settings, **given}
    known = {name: value for name, value in shared.items() if knows(model_class, name)}
    return {"show_progress": False, **known, **row.settings}


def refuse_unknown(given: Mapping[str, Any], model_classes: Iterable[type]) -> None:
    """Refuse settings for all systems that none of them has, or that the benchmark sets.

    Raises:
        ValueError: there are any; all are listed, with the nearest known names.
    """
    classes = list(dict.fromkeys(model_classes))
    decided = {name: setting(name).in_benchmarks for name in given}
    mistakes = [f"{name}: {instead}." for name, instead in decided.items() if instead]
    for name, instead in decided.items():
        if not instead and classes and not any(knows(each, name) for each in classes):
            mistakes.append(f"{name} {_mistake(classes[-1], name)}.")
    if mistakes:
        raise ValueError("\n- ".join(["The settings for all systems don't fit:", *mistakes]))


def knows(model_class: type, name: str) -> bool:
    """Whether a model, or one of its stages, has a setting of this name."""
    return _mistake(model_class, name) is None


def _mistake(model_class: type, name: str) -> str | None:
    declared, stages = _known(model_class)
    return unknown_setting(parse_key(name, stages), declared, stages)


@cache
def _known(model_class: type) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The settings of a model, and the stages that may have their own values of them."""
    return declared_settings(model_class), tuple(stage_yaml_files(model_class))


def result_fingerprint(config: NewsConfig) -> str:
    """A fingerprint of the settings of all stages, the data, the language model and user code."""
    return Recipes(FileContents(config)).of(system(config)).fingerprint


class FileContents:
    """Digests of what stages read, from files alone: planning tokenises nothing."""

    def __init__(self, config: NewsConfig) -> None:
        self.config = config

    def settings(self, stage: Stage) -> NewsConfig:
        """The settings of a stage, in a copy."""
        return self.config.for_stage(stage.name, stage.number)

    def data_content(self, model_class: type, config: NewsConfig) -> str:
        """A digest of the atomic files, of the corpus where there is one, and of what is read."""
        final = config.final_config_dict
        corpus = [Path(config["post_train_corpus"])] if final.get("post_train_corpus") else []
        folder = Path(config["data_path"])
        reads = getattr(model_class, "reads", None)  # RecBole's own models have none
        news = [config[name] for name in getattr(reads, "settings", ()) if name == _NEWS_TO_READ]
        return content_key([_content_of_data(folder, _stamp(folder)), *corpus, *news])

    def language_model_content(self, config: NewsConfig) -> str:
        """A digest of its files or of word vectors, or a hub name; empty for RecBole's models."""
        if not config.final_config_dict.get("plm"):
            return ""
        source = source_of_texts(config)
        return _content_of_language_model(source, _stamp(Path(source)))


def _stamp(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times of its files: while they stay, no row of a table reads them again.

    Of a file, its own.
    """
    files = sorted(folder.iterdir()) if folder.is_dir() else [folder] if folder.is_file() else []
    stats = [(file.name, file.stat()) for file in files]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


@cache
def _content_of_language_model(source: str, stamp: object) -> str:
    return content_of_language_model(source)


@cache
def _content_of_data(folder: Path, stamp: object) -> str:
    files = sorted(file for file in folder.iterdir() if file.suffix in (".inter", ".item"))
    return content_key([part for file in files for part in (file.name, file)])
