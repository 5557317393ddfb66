"""Fingerprints: digests of everything that decides a stage's result, known before training."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from recbole_tinynews.evaluation.recbole_metrics import files_of_metric
from recbole_tinynews.files.array_cache import content_key
from recbole_tinynews.model.stages.joint_teachers import CoFinetunedTeachers
from recbole_tinynews.pipeline.artifact import (
    ARTIFACT_FORMAT,
    FORMAT_KEY,
    MADE_FROM,
    Artifact,
    identity_of,
)
from recbole_tinynews.pipeline.config import NewsConfig
from recbole_tinynews.pipeline.stage import Copy, Stage, stage_of
from recbole_tinynews.settings.table import affects_result
from recbole_tinynews.trainer import find_trainer

if TYPE_CHECKING:
    from recbole_tinynews.pipeline.factory import ImpressionFactory

_PACKAGES = {"recbole_tinynews", "recbole", "torch", "builtins"}


class Recipe(NamedTuple):
    """Everything that decides a stage's result.

    ``settings`` are those that affect it; ``made_from`` has digests of data, language model and a
    user's own code, and fingerprints of earlier stages; ``fingerprint`` is the digest of all.
    """

    stage: Stage
    config: NewsConfig
    settings: dict[str, Any]
    made_from: dict[str, Any]
    fingerprint: str

    @property
    def folder(self) -> Path:
        """Folder of the stage's artifact."""
        if self.stage.folder is not None:
            return self.stage.folder
        data_set = Path(self.config["checkpoint_dir"]) / str(self.config["dataset"])
        return data_set / f"{self.stage.name}-{self.fingerprint}"

    def finished(self) -> Artifact | None:
        """The artifact made from this recipe, if any."""
        return Artifact.read(self.stage.name, self.fingerprint, self.folder)

    def as_settings(self) -> dict[str, Any]:
        """Contents of ``settings.yaml``; for a student with those of its teachers' stages."""
        of_stages: dict[str, Any] = {}
        if self.stage.teachers:
            values = self.config.by_key()
            of_stages = _plain({str(key): value for key, value in values.items() if key.stage})
        head = {FORMAT_KEY: ARTIFACT_FORMAT, MADE_FROM: self.made_from}
        return {**head, **self.settings, **of_stages}


def recipe_of(
    stage: Stage, factory: ImpressionFactory, before: Callable[[Stage], Recipe]
) -> Recipe:
    """The recipe of a stage, with the fingerprints of those ``before`` it."""
    config = factory.config.for_stage(stage.name, stage.number)
    if stage.folder is not None:
        return Recipe(stage, config, {}, {}, identity_of(stage.folder))
    settings = settings_that_matter(config, stage)
    code = [*source_of(stage), *files_of_metric(config["valid_metric"])]
    start = ""
    if stage.start is not None:
        start = f"{_name_of(stage.start.put)} {_places(stage, stage.start.sources)}"
        start += ", popularity fitted again" if stage.start.complete else ""
    made_from = {
        "data": factory.data_content(stage.model, config),
        "language_model": factory.language_model_content(config),
        "code": content_key(code),
        "stages": [before(needed).fingerprint for needed in stage.needs],
        "start": start,
        "teachers": _places(stage, stage.teachers),
    }
    mark = fingerprint({FORMAT_KEY: ARTIFACT_FORMAT, **settings, MADE_FROM: made_from})
    return Recipe(stage, config, settings, made_from, mark)


def settings_that_matter(config: NewsConfig, stage: Stage) -> dict[str, Any]:
    """The settings that affect a stage's result; those of systems only if it has teachers."""
    model_class, has_teachers = stage.model, bool(stage.teachers)
    are_teachers = issubclass(model_class, CoFinetunedTeachers)  # whose number sizes the model
    matter = {
        name: value
        for name, value in config.read_by(stage.name, model_class, has_teachers).items()
        if affects_result(name, has_teachers or are_teachers)
    }
    return {"model_class": f"{_module_of(model_class)}.{model_class.__name__}", **_plain(matter)}


def _module_of(model_class: type) -> str:
    """Its module's name, by which it can be imported, also in a script that is run."""
    script = sys.modules["__main__"]
    if model_class.__module__ != script.__name__:
        return model_class.__module__
    spec, file = getattr(script, "__spec__", None), getattr(script, "__file__", None)
    return spec.name if spec else Path(file).stem if file else script.__name__


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value if isinstance(value, (bool, int, float, list, dict)) else str(value)
        for name, value in sorted(settings.items())
        if value is not None
    }


def fingerprint(described: dict[str, Any]) -> str:
    """A short digest of a stage's description."""
    return content_key([json.dumps(described, sort_keys=True, default=str)])[:12]


def source_of(stage: Stage) -> list[Path]:
    """Files of a user's own model, trainer and hand-over, but not files that these import."""
    made_as = getattr(stage.model, "reading_as", stage.model)
    classes = (stage.model, made_as, find_trainer(stage.model))
    names = [cls.__module__ for each in classes for cls in each.__mro__]
    if stage.start:
        put = stage.start.put
        names.append((put.func if isinstance(put, partial) else put).__module__)
    modules = [sys.modules.get(name) for name in dict.fromkeys(names)]
    own = [m for m in modules if m and m.__name__.partition(".")[0] not in _PACKAGES]
    files = [getattr(module, "__file__", None) for module in own]
    return [Path(file) for file in files if file]


def _name_of(put: Callable[..., None]) -> str:
    """The name of a hand-over function; ``ValueError`` if it has none of its own."""
    if isinstance(put, partial) and not put.args:
        return f"{_name_of(put.func)} {put.keywords}"
    name = getattr(put, "__qualname__", "")
    if not name or "<" in name:
        raise ValueError(
            f"Start expects a named function at the top of a module, got {put!r}, whose results "
            "could be taken for those of another one. Define it with def, outside of any function."
        )
    return name


def _places(stage: Stage, sources: tuple[Stage | Copy, ...]) -> str:
    """Sources as text: the index of each stage among ``stage.needs``, and the copy."""
    return " ".join(
        f"{stage.needs.index(stage_of(source))}"
        + (f"/copy-{source.back}" if isinstance(source, Copy) else "")
        for source in sources
    )
