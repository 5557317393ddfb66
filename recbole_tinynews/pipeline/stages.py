"""A stage: what it reads, what it results in, and how it is trained, resumed or reused."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from logging import getLogger
from pathlib import Path
from typing import Any, NamedTuple

from recbole.data.dataloader import AbstractDataLoader
from recbole.utils import init_seed, set_color

from recbole_tinynews.config import NewsConfig
from recbole_tinynews.data.dataloader import ImpressionDataLoader
from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.data.training_data import TrainingData
from recbole_tinynews.distillation.frozen_teachers import TeacherEnsemble
from recbole_tinynews.encoder.bare_language_model import write_bare_plm
from recbole_tinynews.encoder.language_model import load_tokenizer, locate_plm
from recbole_tinynews.files.array_cache import content_key
from recbole_tinynews.files.locks import exclusive_lock
from recbole_tinynews.files.tensors import load_into
from recbole_tinynews.files.whole import write_text
from recbole_tinynews.model.joint_teachers import JointTeachers
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.pipeline.artifact import (
    ARTIFACT_FORMAT,
    COPIES,
    CURVE,
    FIGURE,
    FORMAT_KEY,
    MADE_FROM,
    METRICS_FILE,
    PLM,
    WEIGHTS,
    Artifact,
    Weights,
    fingerprint,
    read_artifact,
    settings_of_stages,
    settings_that_matter,
    source_of,
    write_metrics,
    write_settings,
)
from recbole_tinynews.pipeline.training_figure import Panel, as_svg, step_figure
from recbole_tinynews.registry import find_trainer
from recbole_tinynews.settings.names import STAGES
from recbole_tinynews.trainer.curve import TrainingCurve
from recbole_tinynews.trainer.impression_evaluation import ImpressionEvaluation
from recbole_tinynews.trainer.model_state import put_model_state
from recbole_tinynews.trainer.training_state import STATE

PLM_FILES = frozenset((".json", ".safetensors", ".bin", ".txt", ".model"))  # weights and tokenizer


class Start(NamedTuple):
    """Weights that an earlier stage hands to a new model, and how they are put into it.

    ``more`` are further weights, for a model that is made of several; ``put`` takes them too.
    """

    weights: Weights
    put: Callable[..., None]
    more: Sequence[Weights] = ()

    @property
    def name(self) -> str:
        """The files that it is made from."""
        return " ".join(weights.source.name for weights in (self.weights, *self.more))


class StageReached(Exception):  # noqa: N818  # nothing went wrong
    """What was asked for is made, and so the stages behind it are not."""


class Recipe(NamedTuple):
    """All that decides what a stage results in, and the folder that is named after it.

    ``settings`` are those that matter; ``made_from`` names, by digests and fingerprints, the data,
    the language model, the stages before, the start and a user's own code.
    """

    stage: str
    model_class: type[NewsRecommender]
    config: NewsConfig
    data: TrainingData
    settings: dict[str, Any]
    made_from: dict[str, Any]
    fingerprint: str
    folder: Path

    def finished(self) -> Artifact | None:
        """What an earlier run has made of it."""
        return read_artifact(self.stage, self.model_class, self.fingerprint, self.folder)


class Run:
    """One run of a system: its settings, its data, and the artifacts of the stages so far."""

    def __init__(self, config: NewsConfig, dataset: NewsDataset) -> None:
        self.config, self.dataset = config, dataset
        train, self.valid, self.test = dataset.build()
        assert train is not None, "a data set without training impressions is refused when read"
        self.train = train
        self.artifacts: list[Artifact] = []
        self.last_stage: str | None = config["stage"]
        self._data: dict[tuple, TrainingData] = {}
        self._plm_contents: dict[str, str] = {}

    def stage_config(self, stage: str) -> NewsConfig:
        """The settings of a stage; the last one has the plain ones."""
        return self.config.for_stage(stage) if stage in STAGES else self.config

    def data_of(self, model_class: type[NewsRecommender], config: NewsConfig) -> TrainingData:
        """What a model is trained on: impressions, or texts that come before any clicks."""
        kind, source = model_class.reads, self._plm_source(config)
        wanted = (kind, source, *(config[name] for name in kind.settings))
        if wanted not in self._data:  # a corpus is large, and M teachers read the same
            self._data[wanted] = kind.read(config, self.train, load_tokenizer(source))
        return self._data[wanted]

    def rebuild(self, weights: Weights) -> NewsRecommender:
        """The recommender that the weights belong to."""
        config = self.stage_config(weights.stage)
        data = self.data_of(weights.model_class, config)
        model = weights.model_class(config, data).to(config["device"])
        put_model_state(model, weights.load(), weights.source)
        return model

    def trainer(self, config: NewsConfig, model: NewsRecommender) -> ImpressionEvaluation:
        """What trains and evaluates the model."""
        return find_trainer(type(model))(config, model)

    def loaders(self, config: NewsConfig, data: TrainingData) -> tuple[Any, Any]:
        """Batches of training, and of validation where there is any."""
        return data.loaders(config, self.valid)

    def impressions(self, config: NewsConfig, shown: NewsDataset) -> AbstractDataLoader:
        """Batches of whole impressions, as the models read them."""
        return ImpressionDataLoader(config, shown)

    def train_stage(
        self,
        stage: str,
        model_class: type,
        after: Sequence[Artifact] = (),
        start: Start | None = None,
        teachers: Sequence[Weights] = (),
        number: int = 0,
    ) -> Artifact:
        """Train one model and leave its artifact, or reuse the one that lies there.

        A training that was stopped goes on from its last saved state. While another process trains
        the same, this one waits, and finds it finished.

        Args:
            stage: its name; settings with it as prefix are its own.
            model_class: what is trained.
            after: artifacts that it stands on.
            start: what the new model starts with, if not with the language model alone.
            teachers: weights of the teachers that label its batches, or train together with it.
            number: which of several equal models; each has a seed of its own.

        Raises:
            StageReached: the stages behind ``last_stage`` are not wanted, and this is one of them.
        """
        self.stop_behind_last(stage)
        recipe = self.recipe(stage, model_class, after, start, teachers, number)
        artifact = None if self.config["fresh"] else recipe.finished()
        if artifact is None:
            # two systems of a benchmark may want it at once
            with exclusive_lock(recipe.folder, "training it"):
                artifact = self._make(recipe, start, teachers)
        else:
            _tell_reused(artifact)
        shutil.rmtree(recipe.folder / STATE, ignore_errors=True)
        self.artifacts.append(artifact)
        return artifact

    def _make(self, recipe: Recipe, start: Start | None, teachers: Sequence[Weights]) -> Artifact:
        """Train it, unless another process has done so while this one waited."""
        stage, model_class, folder = recipe.stage, recipe.model_class, recipe.folder
        started = time.perf_counter()
        if self.config["fresh"]:
            shutil.rmtree(folder, ignore_errors=True)
        artifact = recipe.finished()
        if artifact is not None:
            _tell_reused(artifact)
            return artifact
        getLogger().info(f"{_label(stage)} -> {folder}")
        (folder / METRICS_FILE).unlink(missing_ok=True)  # it marks a complete folder
        best = self._fit(recipe, start, teachers)
        seconds = time.perf_counter() - started
        artifact = Artifact(
            stage, model_class, recipe.fingerprint, folder, seconds, dict(best or {})
        )
        self._write(recipe, artifact, bool(teachers))
        return artifact

    def stop_behind_last(self, stage: str) -> None:
        """Raise ``StageReached`` where ``last_stage`` is made and another one is to follow."""
        made = [artifact.name for artifact in self.artifacts]
        if self.last_stage in made and stage != self.last_stage:
            raise StageReached

    def recipe(
        self,
        stage: str,
        model_class: type,
        after: Sequence[Artifact] = (),
        start: Start | None = None,
        teachers: Sequence[Weights] = (),
        number: int = 0,
    ) -> Recipe:
        """What ``train_stage`` would make of the same arguments, and where."""
        config = self.stage_config(stage)
        if number:
            config["seed"] += number
        data = self.data_of(model_class, config)
        settings = settings_that_matter(config, model_class, bool(teachers))
        code = source_of(model_class)
        made_from: dict[str, Any] = {
            "data": data.content,
            "language_model": self._plm_content(config),
            "after": [artifact.fingerprint for artifact in after],
            "start": start.name if start else "",
        }
        contents = [made_from["data"], made_from["language_model"]]
        contents += [*made_from["after"], made_from["start"]]
        mark = fingerprint(settings, [*contents, *code])
        made_from["code"] = content_key(code)
        folder = Path(config["checkpoint_dir"]) / self.dataset.dataset_name / f"{stage}-{mark}"
        return Recipe(stage, model_class, config, data, settings, made_from, mark, folder)

    def _write(self, recipe: Recipe, artifact: Artifact, has_teachers: bool) -> None:
        """All but the weights; the metrics come last."""
        self._write_plm(recipe)
        of_teachers = settings_of_stages(recipe.config) if has_teachers else {}
        head = {FORMAT_KEY: ARTIFACT_FORMAT, MADE_FROM: recipe.made_from}
        write_settings(recipe.folder, {**head, **recipe.settings, **of_teachers})
        metrics: dict[str, Any] = {"valid": artifact.valid, "seconds": artifact.seconds}
        copies = sorted(path.name for path in (recipe.folder / COPIES).glob("step-*.safetensors"))
        if copies:  # named, so that one that goes missing is missed
            metrics[COPIES] = copies
        write_metrics(recipe.folder, metrics)

    def _write_plm(self, recipe: Recipe) -> None:
        if recipe.model_class.ranks_news:
            write_bare_plm(self._plm_source(recipe.config), recipe.folder / PLM)

    def _plm_source(self, config: NewsConfig) -> str:
        return locate_plm(config["plm"], [Path(config["data_path"])])

    def _plm_content(self, config: NewsConfig) -> str:
        source = self._plm_source(config)
        if source not in self._plm_contents:  # all of its weights are read
            self._plm_contents[source] = plm_content(config)
        return self._plm_contents[source]

    def _fit(self, recipe: Recipe, start: Start | None, teachers: Sequence[Weights]) -> dict | None:
        config, model_class, data = recipe.config, recipe.model_class, recipe.data
        init_seed(config["seed"], config["reproducibility"])
        model = model_class(config, data).to(config["device"])
        if start is not None:
            start.put(model, start.weights, *start.more)
        trainer = self.trainer(config, model)
        trainer.saved_model_file = str(recipe.folder / WEIGHTS)
        trainer.resume_checkpoint()
        if teachers:
            trainer.teachers = self._teachers(recipe, model, teachers)
        train, valid = self.loaders(config, data)
        best = trainer.fit(train, valid, show_progress=config["show_progress"])[1]
        write_curve(recipe.folder, recipe.stage, trainer.curve)
        return best

    def _teachers(
        self, recipe: Recipe, model: Any, teachers: Sequence[Weights]
    ) -> TeacherEnsemble | JointTeachers:
        """Frozen ones that label batches, or ones that train together with the model."""
        if not model.makes_teachers:
            made = [self.rebuild(weights).as_teachers() for weights in teachers]
            return TeacherEnsemble([each for several in made for each in several])
        joint = model.make_teachers(recipe.config, recipe.data, len(teachers))
        for teacher, weights in zip(joint.members, teachers, strict=True):
            plm, prefix = teacher.get_submodule("news_encoder.plm"), "news_encoder.plm."
            load_into(plm, weights.load(), weights.source, prefix)
        return joint.to(recipe.config["device"])


def plm_content(config: NewsConfig) -> str:
    """The language model that a stage starts from: the content of its folder, or its hub name."""
    source = locate_plm(config["plm"], [Path(config["data_path"])])
    if not Path(source).is_dir():
        return source
    files = sorted(p for p in Path(source).iterdir() if p.suffix in PLM_FILES)
    return content_key([part for file in files for part in (file.name, file)])


def write_curve(folder: Path, stage: str, curve: TrainingCurve) -> None:
    """Losses and validation metrics by step, as a table and a figure.

    Neither is worth the hours of the training that they show: a failure is only a warning.
    """
    try:
        write_text(folder / CURVE, curve.as_csv())
        panels = Panel("training loss", curve.losses), Panel("validation metric", curve.metrics)
        write_text(folder / FIGURE, as_svg(step_figure(stage, panels)))
    except Exception as problem:
        getLogger().warning(f"{folder / FIGURE} could not be drawn: {problem!r}")


def _label(stage: str) -> str:
    return set_color(f"Stage {stage}", "pink")


def _tell_reused(artifact: Artifact) -> None:
    getLogger().info(f"{_label(artifact.name)} is reused: {artifact.folder}")
