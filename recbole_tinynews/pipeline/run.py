"""Run a graph of stages: each is trained, resumed or reused after its dependencies."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from logging import getLogger
from typing import Any

from recbole.utils import init_seed, set_color

from recbole_tinynews.distillation.teachers import FrozenTeachers, Teachers
from recbole_tinynews.evaluation.recbole_metrics import is_own
from recbole_tinynews.files.progress import StageProgress
from recbole_tinynews.files.whole import made_once
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.pipeline.artifact import Artifact, Weights, begin
from recbole_tinynews.pipeline.factory import ImpressionFactory
from recbole_tinynews.pipeline.fingerprints import Recipe, recipe_of
from recbole_tinynews.pipeline.handover import put_language_model
from recbole_tinynews.pipeline.stage import Copy, Stage, in_order, stage_of
from recbole_tinynews.processes.group import all_gather_object, broadcast, process_group
from recbole_tinynews.trainer.checkpoints import STATE, put_model_state, saved_step


class GivenUpError(Exception):
    """Raised by a callback to abandon a stage and remove its files."""


class Run:
    """One run of a system.

    ``artifacts`` are finished stages, in order of completion. ``callbacks`` are RecBole's
    ``callback_fn`` by stage, called with round and score after each validation; they may raise
    ``GivenUpError``.
    """

    def __init__(self, factory: ImpressionFactory) -> None:
        self.factory = factory
        self._recipes: dict[Stage, Recipe] = {}
        self.artifacts: dict[Stage, Artifact] = {}
        self.progress: Mapping[Stage, StageProgress] = {}
        self.callbacks: dict[Stage, Callable[[int, float], None]] = {}
        self.fresh: bool = factory.config["fresh"]

    def recipe(self, stage: Stage) -> Recipe:
        """What decides a stage's result, computed once."""
        if stage not in self._recipes:
            self._recipes[stage] = recipe_of(stage, self.factory, self.recipe)
        return self._recipes[stage]

    def make(self, *stages: Stage) -> Artifact:
        """Train or reuse these stages and their dependencies; returns the last one's artifact.

        A stopped training resumes from its last saved state; one in another process is waited for.
        """
        for stage in in_order(*stages):
            if stage not in self.artifacts:
                self.artifacts[stage] = self._make(self.recipe(stage))
        return self.artifacts[stages[-1]]

    def weights(self, source: Stage | Copy) -> Weights:
        """Weights of a finished stage, or of a saved copy; ``ValueError`` if it does not exist."""
        artifact = self.artifacts[stage_of(source)]
        return artifact.copy(source.back) if isinstance(source, Copy) else artifact.weights

    def model(self, source: Stage | Copy) -> Any:
        """Model of a finished stage or saved copy, with its weights."""
        stage = stage_of(source)
        model = self.factory.model(stage.model, self.recipe(stage).config)
        weights = self.weights(source)
        put_model_state(model, weights.load(), weights.source)
        return model

    def kept(self, stages: Iterable[Stage]) -> list[str]:
        """Finished stages and saved steps, from which a stopped run resumes."""
        kept = []
        for stage in stages:
            step = saved_step(self.recipe(stage).folder / STATE)
            if stage in self.artifacts:
                kept.append(f"{stage.name} (finished)")
            elif step is not None:
                kept.append(f"{stage.name} (up to step {step})")
        return kept

    def _make(self, recipe: Recipe) -> Artifact:
        if recipe.stage.folder is not None:
            given = recipe.finished()
            if given is None:
                raise ValueError(
                    f"{recipe.folder} expects a finished recommender with its files as they were "
                    "written. Rerun the command that made it, or copy the folder again."
                )
            return given
        every = all_gather_object(recipe.fingerprint, patient=True)
        if len(set(every)) > 1:
            raise ValueError(
                f"Stage {recipe.stage.name} expects the same settings, data and language model in "
                f"all processes, got fingerprints {every}. Give all machines the same files and "
                "command."
            )
        if not process_group().first:
            return self._follow(recipe)

        def find() -> Artifact | None:
            return None if self.fresh else recipe.finished()

        def make() -> Artifact:
            if self.fresh:
                shutil.rmtree(recipe.folder, ignore_errors=True)
            return self._train_first(recipe)

        # two systems of a benchmark may train it at once
        artifact = made_once(recipe.folder, find, make, "training it")
        if artifact.reused:
            getLogger().info(self._line(recipe.stage, f" is reused: {artifact.folder}"))
            broadcast(False, patient=True)  # skip training in _follow
        shutil.rmtree(recipe.folder / STATE, ignore_errors=True)
        broadcast(True, patient=True)  # files are complete
        return artifact

    def _follow(self, recipe: Recipe) -> Artifact:
        """Train along with the first process, which decides whether to, and writes all files."""
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

    def _train_first(self, recipe: Recipe) -> Artifact:
        started = time.perf_counter()
        folder = recipe.folder
        getLogger().info(self._line(recipe.stage, f" -> {folder}"))
        begin(folder)
        broadcast(True, patient=True)  # start training in _follow
        try:
            model, valid, budget = self._train(recipe)
        except GivenUpError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        seconds = time.perf_counter() - started
        artifact = Artifact(
            recipe.stage.name,
            recipe.fingerprint,
            folder,
            seconds,
            valid,
            budget=budget,
            newest=int(self.factory.train.inter_feat.timestamp.max()),
        )
        reads_text = isinstance(model, NewsRecommender)
        parts = partial(model.write_parts, recipe.config) if reads_text else None
        # a user's own metrics may change, but for that which the fingerprint covers
        decides = recipe.config["valid_metric"].lower()
        kept = {name: v for name, v in valid.items() if name == decides or not is_own(name)}
        artifact._replace(valid=kept).write(recipe.as_settings(), parts)
        return artifact

    def _train(self, recipe: Recipe) -> tuple[Any, dict[str, Any], dict[str, int] | None]:
        """The trained model, its best validation result, and the budget of its training."""
        stage, config = recipe.stage, recipe.config
        data = self.factory.data(stage.model, config)
        init_seed(config["seed"], config["reproducibility"])
        model = self.factory.model(stage.model, config)
        if stage.start is not None:
            stage.start.put(model, *map(self.weights, stage.start.sources))
        new_heads = stage.start is None or not stage.start.complete
        self.factory.start(model, config, data, new_heads)
        teachers = self._teachers(recipe, model) if stage.teachers else None
        trainer = self.factory.trainer(config, model, recipe.folder, teachers)
        trainer.progress = self._progress(stage)
        trainer.resume_checkpoint()
        train, valid = self.factory.loaders(config, data)
        callback = self.callbacks.get(stage)  # a user's `fit` may not accept it
        given = {"callback_fn": callback} if callback else {}
        try:
            best = trainer.fit(train, valid, show_progress=config["show_progress"], **given)[1]
        finally:
            trainer.tensorboard.close()
        budget = trainer.budget.total()._asdict() if trainer.budget else None
        return model, dict(best or {}), budget

    def _progress(self, stage: Stage) -> StageProgress:
        return self.progress.get(stage) or StageProgress(stage.name)

    def _line(self, stage: Stage, text: str) -> str:
        label = self._progress(stage).label
        place = f"{label.capitalize()}:" if label else "Stage"
        return set_color(f"{place} {stage.name}", "pink") + text

    def _teachers(self, recipe: Recipe, model: Any) -> Teachers:
        stage, config = recipe.stage, recipe.config
        data = self.factory.data(stage.model, config)
        given = self.factory.model_settings(config)
        joint = model.make_teachers(given, data, len(stage.teachers))
        if joint is None:
            finished = [self.model(source) for source in stage.teachers]
            return FrozenTeachers([each for several in finished for each in several.teachers])
        for teacher, source in zip(joint.members, stage.teachers, strict=True):
            put_language_model(teacher, self.weights(source))
        return joint.to(config["device"])
