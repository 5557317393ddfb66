"""Recipes: all that decides a stage's result, and its fingerprint, before any stage has run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from recbole_tinynews.config import NewsConfig
from recbole_tinynews.evaluation.own_metrics import files_of_metric
from recbole_tinynews.evaluation.recbole_metrics import in_fingerprints
from recbole_tinynews.files.array_cache import content_key
from recbole_tinynews.pipeline.artifact import (
    ARTIFACT_FORMAT,
    Artifact,
    fingerprint,
    read_artifact,
    settings_that_matter,
    source_of,
)
from recbole_tinynews.pipeline.stage import Copy, Stage, stage_of
from recbole_tinynews.settings.declared import counted_as, is_as_before
from recbole_tinynews.settings.layers import METRICS_SETTING


class Contents(Protocol):
    """Settings of stages, and digests of what they read; every ``Factory`` provides them."""

    def settings(self, stage: Stage) -> NewsConfig:
        """A copy of the settings as the stage sees them."""

    def data_content(self, model_class: type, config: NewsConfig) -> str:
        """A digest of the training data of a model."""

    def language_model_content(self, config: NewsConfig) -> str:
        """A digest of the language model that training starts from."""


class Recipe(NamedTuple):
    """All that decides a stage's result.

    Attributes:
        stage: what is trained.
        config: the settings as the stage sees them.
        settings: those of them that affect the result.
        made_from: digests of the data, the language model and a user's own code; fingerprints of
            the stages before; start and teachers as indices of these.
        fingerprint: digest of all that.
    """

    stage: Stage
    config: NewsConfig
    settings: dict[str, Any]
    made_from: dict[str, Any]
    fingerprint: str

    @property
    def folder(self) -> Path:
        """The folder of the stage's artifact."""
        data_set = Path(self.config["checkpoint_dir"]) / str(self.config["dataset"])
        return data_set / f"{self.stage.name}-{self.fingerprint}"

    def finished(self) -> Artifact | None:
        """The artifact that an earlier run made by this recipe; None: there is none."""
        return read_artifact(self.stage.name, self.fingerprint, self.folder)


class Recipes:
    """The recipes of a graph of stages, each computed once."""

    def __init__(self, contents: Contents) -> None:
        self.contents = contents
        self._made: dict[Stage, Recipe] = {}

    def of(self, stage: Stage) -> Recipe:
        """The recipe of a stage; it includes the fingerprints of the stages that it depends on."""
        if stage not in self._made:
            self._made[stage] = self._make(stage)
        return self._made[stage]

    def _make(self, stage: Stage) -> Recipe:
        config = self.contents.settings(stage)
        settings = settings_that_matter(config, stage)
        code = [*source_of(stage), *files_of_metric(config["valid_metric"])]
        start = ""
        if stage.start is not None:
            start = f"{_name_of(stage.start.put)} {_places(stage, stage.start.sources)}"
        made_from = {
            "data": self.contents.data_content(stage.model, config),
            "language_model": self.contents.language_model_content(config),
            "code": content_key(code),
            "after": [self.of(before).fingerprint for before in stage.needs],
            "start": start,
            "teachers": _places(stage, stage.teachers),
        }
        counted = {n: counted_as(n, v) for n, v in settings.items() if not is_as_before(n, v)}
        if METRICS_SETTING in counted:
            counted[METRICS_SETTING] = in_fingerprints(counted[METRICS_SETTING])
        mark = fingerprint({"format": ARTIFACT_FORMAT, **counted, "made_from": made_from})
        return Recipe(stage, config, settings, made_from, mark)


def _name_of(put: Callable[..., None]) -> str:
    """The name that stands for a hand-over function in a fingerprint.

    Raises:
        ValueError: it has no name by which another one could be told from it.
    """
    name = getattr(put, "__qualname__", "")
    if not name or "<" in name:
        raise ValueError(
            f"Start expects a named function at the top of a module, got {put!r}, whose results "
            "could be taken for those of another one. Define it with def, outside of any function."
        )
    return name


def _places(stage: Stage, sources: tuple[Stage | Copy, ...]) -> str:
    """Sources as text: the index of each one's stage among ``stage.needs``, and the copy.

    The stages' fingerprints are listed apart, so the text stays the same when only these change.
    """
    return " ".join(
        f"{stage.needs.index(stage_of(source))}"
        + (f"/copy-{source.back}" if isinstance(source, Copy) else "")
        for source in sources
    )
