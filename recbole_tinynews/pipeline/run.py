"""The run of a graph of stages: each is trained after those it depends on, resumed or reused."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from logging import getLogger
from pathlib import Path
from typing import Any

from recbole.utils import init_seed, set_color

from recbole_tinynews.distillation.frozen_teachers import FrozenTeachers
from recbole_tinynews.distillation.outputs import Teachers
from recbole_tinynews.files.checksums import checksums
from recbole_tinynews.files.locks import exclusive_lock
from recbole_tinynews.files.whole import all_partials, remove, write_text
from recbole_tinynews.logs.progress import StageProgress
from recbole_tinynews.pipeline.artifact import (
    ARTIFACT_FORMAT,
    BEGUN,
    COPIES,
    CURVE,
    CURVE_TEXT,
    FIGURE,
    FILES,
    FORMAT_KEY,
    MADE_FROM,
    METRICS_FILE,
    PLM,
    TEST,
    TEST_DATA,
    Artifact,
    Weights,
    broken_files,
    files_of,
    read_metrics,
    settings_of_stages,
    write_metrics,
    write_settings,
)
from recbole_tinynews.pipeline.factory import Factory
from recbole_tinynews.pipeline.handover import put_language_model
from recbole_tinynews.pipeline.leftovers import mark_begun
from recbole_tinynews.pipeline.recipes import Recipe, Recipes
from recbole_tinynews.pipeline.stage import Copy, Stage, in_order, stage_of
from recbole_tinynews.pipeline.training_figure import Panel, as_svg, step_figure
from recbole_tinynews.processes.group import all_gather_object, broadcast, process_group
from recbole_tinynews.trainer.curve import TrainingCurve
from recbole_tinynews.trainer.model_state import put_model_state
from recbole_tinynews.trainer.training_state import STATE, saved_step


class GivenUpError(Exception):
    """Raised by a callback: the stage is given up, and what it has written is removed."""


class Run:
    """One run of a system.

    Attributes:
        factory: makes settings, data, model, trainer and loaders of every stage.
        recipes: what decides the result of each stage.
        artifacts: the finished stages so far, in the order in which they were finished.
        progress: how far each stage is; of a stage that is not in it only the name is told.
        callbacks: RecBole's ``callback_fn`` of a stage, called with round and score after each of
            its validations. It may raise ``GivenUpError``.
    """

    def __init__(self, factory: Factory) -> None:
        self.factory = factory
        self.recipes = Recipes(factory)
        self.artifacts: dict[Stage, Artifact] = {}
        self.progress: Mapping[Stage, StageProgress] = {}
        self.callbacks: dict[Stage, Callable[[int, float], None]] = {}
        self.fresh: bool = factory.config["fresh"]

    def make(self, *stages: Stage) -> Artifact:
        """Train these stages and all that they depend on, or reuse what an earlier run has trained.

        A training that was stopped resumes from its last saved state. If another process is
        training the same stage, this one waits and reuses the result.

        Returns:
            The artifact of the last of them.
        """
        for stage in in_order(*stages):
            if stage not in self.artifacts:
                self.artifacts[stage] = self._make(self.recipes.of(stage))
        return self.artifacts[stages[-1]]

    def weights(self, source: Stage | Copy) -> Weights:
        """The weights of a finished stage, or of one of the copies that it saved.

        Raises:
            ValueError: it saved too few copies.
        """
        artifact = self.artifacts[stage_of(source)]
        return artifact.copy(source.back) if isinstance(source, Copy) else artifact.weights

    def model(self, source: Stage | Copy) -> Any:
        """The model of a finished stage, or of one of its copies, with its weights."""
        stage = stage_of(source)
        model = self.factory.model(stage.model, self.recipes.of(stage).config)
        weights = self.weights(source)
        put_model_state(model, weights.load(), weights.source)
        return model

    def kept(self, stages: Iterable[Stage]) -> list[str]:
        """What a run of these stages that is stopped now leaves to resume from."""
        kept = []
        for stage in stages:
            step = saved_step(self.recipes.of(stage).folder / STATE)
            if stage in self.artifacts:
                kept.append(f"{stage.name} (finished)")
            elif step is not None:
                kept.append(f"{stage.name} (up to step {step})")
        return kept

    def _make(self, recipe: Recipe) -> Artifact:
        _check_fingerprints(recipe)
        if not process_group().first:
            return self._follow(recipe)
        artifact = None if self.fresh else recipe.finished()
        if artifact is None or broken_files(artifact.folder):
            # two systems of a benchmark may want it at once
            with exclusive_lock(recipe.folder, "training it"):
                artifact = self._make_alone(recipe)
        else:
            self._reuse(recipe, artifact)
        if artifact.reused:
            broadcast(False, patient=True)  # nothing is to be trained
        shutil.rmtree(recipe.folder / STATE, ignore_errors=True)
        with suppress(OSError):  # read-only
            (recipe.folder / BEGUN).unlink()
        broadcast(True, patient=True)  # all is written
        return artifact

    def _follow(self, recipe: Recipe) -> Artifact:
        """Train together with the first process, which decides whether to, and writes all files.

        Raises:
            ValueError: its files are not seen here.
        """
        if broadcast(None, patient=True):
            self._train(recipe)
        broadcast(None, patient=True)
        artifact = recipe.finished()
        if artifact is None:
            raise ValueError(
                f"Process {process_group().rank} expects to find the stage written by the "
                f"first one in {recipe.folder.resolve()}, and does not. Give all machines one "
                "checkpoint_dir, on a disk that they share."
            )
        return artifact

    def _make_alone(self, recipe: Recipe) -> Artifact:
        """Train the stage, unless another process has done so while this one waited."""
        started = time.perf_counter()
        if self.fresh:
            shutil.rmtree(recipe.folder, ignore_errors=True)
        artifact = recipe.finished()
        if artifact is not None:
            self._reuse(recipe, artifact)
            return artifact
        name, folder = recipe.stage.name, recipe.folder
        getLogger().info(self._told(recipe.stage, f" -> {folder}"))
        (folder / METRICS_FILE).unlink(missing_ok=True)  # it marks a complete folder
        shutil.rmtree(folder / PLM, ignore_errors=True)  # if it is there, it would be kept
        for place in all_partials(folder):  # of a killed process, as this one holds the lock
            remove(place)
        content = self.factory.dataset.content
        mark_begun(folder, content if recipe.made_from["data"] == content else None)
        broadcast(True, patient=True)  # the others train too
        try:
            best = self._train(recipe)
        except GivenUpError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        seconds = time.perf_counter() - started
        artifact = Artifact(name, recipe.fingerprint, folder, seconds, dict(best or {}))
        self._write(recipe, artifact)
        return artifact

    def _reuse(self, recipe: Recipe, artifact: Artifact) -> None:
        """Tell that the stage is reused, after writing again what it lost of its smaller files."""
        self._progress(recipe.stage).finish()
        broken = broken_files(artifact.folder)
        if broken:
            getLogger().warning(
                f"{artifact.folder}: {', '.join(broken)} changed since the training, and "
                f"{'are' if len(broken) > 1 else 'is'} written again."
            )
            metrics = read_metrics(artifact.folder)
            if {CURVE, FIGURE} & {*broken}:
                curve = TrainingCurve.from_csv(metrics[CURVE_TEXT], artifact.valid)
                _write_curve(artifact.folder, artifact.name, curve)
            shutil.rmtree(artifact.folder / PLM, ignore_errors=True)
            self._write(recipe, artifact, metrics)
        getLogger().info(self._told(recipe.stage, f" is reused: {artifact.folder}"))

    def _train(self, recipe: Recipe) -> dict | None:
        stage, config = recipe.stage, recipe.config
        data = self.factory.data(stage.model, config)
        init_seed(config["seed"], config["reproducibility"])
        model = self.factory.model(stage.model, config)
        if stage.start is not None:
            stage.start.put(model, *map(self.weights, stage.start.sources))
        self.factory.start(model, config, data)
        teachers = self._teachers(recipe, model) if stage.teachers else None
        trainer = self.factory.trainer(config, model, recipe.folder, teachers)
        trainer.progress = self._progress(stage)
        trainer.resume_checkpoint()
        train, valid = self.factory.loaders(config, data)
        callback = self.callbacks.get(stage)  # a user's trainer may have a `fit` without it
        given = {"callback_fn": callback} if callback else {}
        try:
            best = trainer.fit(train, valid, show_progress=config["show_progress"], **given)[1]
        finally:
            trainer.tensorboard.close()
        trainer.progress.finish()
        if process_group().first:
            _write_curve(recipe.folder, stage.name, trainer.curve)
        return best

    def _progress(self, stage: Stage) -> StageProgress:
        return self.progress.get(stage) or StageProgress(stage.name)

    def _told(self, stage: Stage, what: str) -> str:
        """A line of the log about a stage: which of them it is, what, and the time left."""
        progress = self._progress(stage)
        place = f"{progress.label.capitalize()}:" if progress.label else "Stage"
        left = progress.time_left()
        told = set_color(f"{place} {stage.name}", "pink") + what
        return f"{told}, about {left} of the run" if left else told

    def _teachers(self, recipe: Recipe, model: Any) -> Teachers:
        """Frozen teachers that label batches, or teachers that train together with the model."""
        stage, config = recipe.stage, recipe.config
        if not model.makes_teachers:
            finished = [self.model(source) for source in stage.teachers]
            return FrozenTeachers([each for several in finished for each in several.teachers])
        data = self.factory.data(stage.model, config)
        joint = model.make_teachers(config, data, len(stage.teachers))
        for teacher, source in zip(joint.members, stage.teachers, strict=True):
            put_language_model(teacher, self.weights(source))
        return joint.to(config["device"])

    def _write(
        self, recipe: Recipe, artifact: Artifact, before: dict[str, Any] | None = None
    ) -> None:
        """Write all files but the weights; the metrics come last, with the test's of ``before``."""
        folder, config = recipe.folder, recipe.config
        self.factory.keep_language_model(recipe.stage.model, config, folder / PLM)
        of_teachers = settings_of_stages(config) if recipe.stage.teachers else {}
        head = {FORMAT_KEY: ARTIFACT_FORMAT, MADE_FROM: recipe.made_from}
        write_settings(folder, {**head, **recipe.settings, **of_teachers})
        metrics: dict[str, Any] = {"valid": artifact.valid, "seconds": artifact.seconds}
        copies = sorted(path.name for path in (folder / COPIES).glob("step-*.safetensors"))
        if copies:  # listed, so that a missing one is noticed
            metrics[COPIES] = copies
        metrics |= {key: before[key] for key in (TEST, TEST_DATA) if before and key in before}
        shown = [place for place in (folder / CURVE, folder / FIGURE) if place.is_file()]
        if folder / CURVE in shown:  # so that both can be written again
            metrics[CURVE_TEXT] = (folder / CURVE).read_text(encoding="utf-8")
        metrics[FILES] = checksums(folder, [*files_of(folder), *shown])
        write_metrics(folder, metrics)


def _check_fingerprints(recipe: Recipe) -> None:
    """Refuse processes that would train something else under the same name."""
    every = all_gather_object(recipe.fingerprint, patient=True)
    if len(set(every)) > 1:
        raise ValueError(
            f"Stage {recipe.stage.name} expects the same settings, data and language model in all "
            f"processes, got fingerprints {every}. Give all machines the same files and command."
        )


def _write_curve(folder: Path, stage: str, curve: TrainingCurve) -> None:
    """Write losses and validation metrics by step, as a table and a figure.

    A failure is only a warning, so that it doesn't cost the finished training.
    """
    try:
        write_text(folder / CURVE, curve.as_csv())
        panels = Panel("training loss", curve.losses), Panel("validation metric", curve.metrics)
        write_text(folder / FIGURE, as_svg(step_figure(stage, panels)))
    except Exception as problem:
        getLogger().warning(f"{folder / FIGURE} could not be drawn: {problem!r}")
