"""What decides a stage's result, and the fingerprint of it, for every stage before any has run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, Protocol

from recbole_tinynews.config import NewsConfig
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


class Contents(Protocol):
    """Settings of stages, and digests of what they read. Every ``Factory`` is one."""

    def settings(self, stage: Stage) -> NewsConfig:
        """The stage's own, in a copy."""

    def data_content(self, model_class: type, config: NewsConfig) -> str:
        """A digest of what a model is trained on."""

    def language_model_content(self, config: NewsConfig) -> str:
        """A digest of the language model that it starts from."""


class Recipe(NamedTuple):
    """All that decides what a stage results in.

    Attributes:
        stage: what is trained.
        config: the settings as the stage sees them.
        settings: those of them that matter.
        made_from: by digests and fingerprints the data, the language model, a user's own code, the
            stages before; start and teachers by their place among these.
        fingerprint: of all that.
    """

    stage: Stage
    config: NewsConfig
    settings: dict[str, Any]
    made_from: dict[str, Any]
    fingerprint: str

    @property
    def folder(self) -> Path:
        """Where the stage's artifact lies."""
        data_set = Path(self.config["checkpoint_dir"]) / str(self.config["dataset"])
        return data_set / f"{self.stage.name}-{self.fingerprint}"

    def finished(self) -> Artifact | None:
        """What an earlier run has made of it."""
        return read_artifact(self.stage.name, self.fingerprint, self.folder)


class Recipes:
    """Recipes of the stages of a graph, each made once."""

    def __init__(self, contents: Contents) -> None:
        self.contents = contents
        self._made: dict[Stage, Recipe] = {}

    def of(self, stage: Stage) -> Recipe:
        """The recipe of a stage; it covers the fingerprints of those that the stage stands on."""
        if stage not in self._made:
            self._made[stage] = self._make(stage)
        return self._made[stage]

    def _make(self, stage: Stage) -> Recipe:
        config = self.contents.settings(stage)
        settings = settings_that_matter(config, stage)
        code = source_of(stage)
        start = ""
        if stage.start is not None:
            start = f"{stage.start.put.__name__} {_places(stage, stage.start.sources)}"
        made_from = {
            "data": self.contents.data_content(stage.model, config),
            "language_model": self.contents.language_model_content(config),
            "code": content_key(code),
            "after": [self.of(before).fingerprint for before in stage.needs],
            "start": start,
            "teachers": _places(stage, stage.teachers),
        }
        mark = fingerprint({"format": ARTIFACT_FORMAT, **settings, "made_from": made_from})
        return Recipe(stage, config, settings, made_from, mark)


def _places(stage: Stage, sources: tuple[Stage | Copy, ...]) -> str:
    """Which of the stages before, and which copy of it, as text.

    The stages' fingerprints stand beside; so the text stays the same where only these change.
    """
    return " ".join(
        f"{stage.needs.index(stage_of(source))}"
        + (f"/copy-{source.back}" if isinstance(source, Copy) else "")
        for source in sources
    )
