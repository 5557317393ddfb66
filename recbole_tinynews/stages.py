"""A stage, the stages of each system, and how each hands on what it made to the next."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from logging import getLogger
from pathlib import Path
from typing import Any, NamedTuple

from recbole.utils import init_seed, set_color

from recbole_tinynews.artifact import (
    WEIGHTS,
    Artifact,
    Weights,
    fingerprint,
    settings_that_matter,
    write_metrics,
    write_settings,
)
from recbole_tinynews.config import NewsConfig
from recbole_tinynews.data.array_cache import content_key
from recbole_tinynews.data.dataloader import ClickDataLoader, ImpressionDataLoader, TrainDataLoader
from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.data.title_body import (
    TitleBodyDataLoader,
    TitleBodyDataset,
    articles_of,
    read_corpus,
)
from recbole_tinynews.distillation.teacher_ensemble import Teacher, TeacherEnsemble
from recbole_tinynews.model.plm import load_tokenizer, locate_plm
from recbole_tinynews.model.plmnr import PLMNR
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.model.title_body import TitleBodyMatcher, TitleBodyStudent
from recbole_tinynews.registry import find_trainer
from recbole_tinynews.settings.names import STAGES
from recbole_tinynews.trainer import NewsTrainer
from recbole_tinynews.trainer.weights import load_into

Start = Callable[[NewsRecommender], None]


class Trained(NamedTuple):
    """A model that a stage has just trained (its last weights), its trainer and its artifact."""

    model: NewsRecommender
    trainer: NewsTrainer
    artifact: Artifact


class Run:
    """One run of a system: its settings, its data, and the artifacts of the stages so far."""

    def __init__(self, config: NewsConfig, dataset: NewsDataset) -> None:
        self.config, self.dataset = config, dataset
        self.train, self.valid, self.test = dataset.build()
        self.artifacts: list[Artifact] = []

    def stage_config(self, stage: str) -> NewsConfig:
        """The settings of a stage; the last one has the plain ones."""
        return self.config.for_stage(stage) if stage in STAGES else self.config

    def data_of(self, model_class: type, config: NewsConfig) -> NewsDataset | TitleBodyDataset:
        """What a model reads: articles in post-training, else the impressions of training."""
        if not issubclass(model_class, TitleBodyMatcher):
            return self.train
        corpus = config["post_train_corpus"]
        return TitleBodyDataset(
            read_corpus(Path(corpus)) if corpus else articles_of(self.dataset),
            load_tokenizer(locate_plm(config["plm"], [Path(config["data_path"])])),
            config["max_title_length"],
            config["max_body_length"],
            config["negatives"],
            config["seed"],
            self.dataset.cache_dir,
        )

    def rebuild(self, weights: Weights) -> NewsRecommender:
        """The recommender that the weights belong to."""
        config = self.stage_config(weights.stage)
        data = self.data_of(weights.model_class, config)
        model = weights.model_class(config, data).to(config["device"])
        load_into(model, weights.values, weights.source)
        return model

    def train_stage(
        self,
        stage: str,
        model_class: type,
        after: Sequence[Artifact] = (),
        start: Start | None = None,
        teachers: Sequence[Weights] = (),
        number: int = 0,
    ) -> Trained:
        """Train one model and leave its artifact.

        Args:
            stage: its name; settings with it as prefix are its own.
            model_class: what is trained.
            after: artifacts that it stands on.
            start: puts handed-over weights into the new model.
            teachers: weights of the teachers that label its batches.
            number: which of several equal models; each has a seed of its own.
        """
        started = time.perf_counter()
        config = self.stage_config(stage)
        data = self.data_of(model_class, config)
        settings = settings_that_matter(config, model_class, bool(teachers))
        mark = fingerprint(
            {**settings, "number": number},
            [data.content, plm_content(config), *(artifact.fingerprint for artifact in after)],
        )
        folder = Path(config["checkpoint_dir"]) / self.dataset.dataset_name / f"{stage}-{mark}"
        getLogger().info(set_color(f"Stage {stage}", "pink") + f" -> {folder}")

        init_seed(config["seed"] + number, config["reproducibility"])
        model = model_class(config, data).to(config["device"])
        if start is not None:
            start(model)
        trainer = find_trainer(model_class)(config, model)
        trainer.saved_model_file = str(folder / WEIGHTS)
        if teachers:
            trainer.teachers = TeacherEnsemble([_as_teacher(self.rebuild(t)) for t in teachers])
        train, valid = self._loaders(config, data)
        _, best = trainer.fit(train, valid, show_progress=config["show_progress"])

        artifact = Artifact(
            stage, model_class, mark, folder, time.perf_counter() - started, dict(best or {})
        )
        write_settings(folder, settings)
        write_metrics(folder, {"valid": artifact.valid, "seconds": artifact.seconds})
        self.artifacts.append(artifact)
        return Trained(model, trainer, artifact)

    def _loaders(
        self, config: NewsConfig, data: NewsDataset | TitleBodyDataset
    ) -> tuple[TrainDataLoader, ImpressionDataLoader | None]:
        if isinstance(data, TitleBodyDataset):
            return TitleBodyDataLoader(config, data), ImpressionDataLoader(config, data)
        valid = ImpressionDataLoader(config, self.valid) if self.valid else None
        return ClickDataLoader(config, data), valid


def train_system(run: Run, model_class: type) -> Trained:
    """All stages of the system, the model asked for last."""
    for base in model_class.__mro__:
        if base.__name__ in SYSTEMS:
            return SYSTEMS[base.__name__](run, model_class)
    return run.train_stage(model_class.__name__, model_class)


def tiny_newsrec(run: Run, model_class: type) -> Trained:
    """Four stages (Tiny-NewsRec, EMNLP 2022, section 3).

    Post-train the teacher and keep its last M copies; post-train the student under them (Stage I);
    finetune each of them; finetune the student under the finetuned ones (Stage II).
    """
    teacher = run.train_stage("post_train_teacher", TitleBodyMatcher).artifact
    copies = teacher.copies(run.config["num_teachers"])
    from_teacher = run.config["student_init"] == "teacher"
    student = run.train_stage(
        "post_train_student",
        TitleBodyStudent,
        after=[teacher],
        start=first_layers_of(teacher.weights) if from_teacher else None,
        teachers=copies,
    ).artifact
    finetuned = [
        run.train_stage(
            "finetune_teacher", PLMNR, after=[teacher], start=news_encoder_of(copy), number=number
        ).artifact
        for number, copy in enumerate(copies)
    ]
    return run.train_stage(
        model_class.__name__,
        model_class,
        after=[student, *finetuned],
        start=news_encoder_of(student.weights),
        teachers=[artifact.weights for artifact in finetuned],
    )


SYSTEMS: dict[str, Callable[[Run, type], Trained]] = {"TinyNewsRec": tiny_newsrec}


def news_encoder_of(weights: Weights) -> Start:
    """Start with the whole news encoder of an earlier stage; every weight must be there."""

    def start(model: NewsRecommender) -> None:
        of_encoder = {n: v for n, v in weights.values.items() if n.startswith("news_encoder.")}
        load_into(model.news_encoder, of_encoder, weights.source, prefix="news_encoder.")

    return start


def first_layers_of(weights: Weights) -> Start:
    """Start with as many of the teacher's first layers as the student has (``student_init``).

    Pooling and dense layer stay random, as they do behind the layers of the plain language model.
    """

    def start(model: NewsRecommender) -> None:
        plm, prefix = model.news_encoder.plm, "news_encoder.plm."
        wanted = {f"{prefix}{name}" for name in plm.state_dict()}
        kept = {name: value for name, value in weights.values.items() if name in wanted}
        load_into(plm, kept, weights.source, prefix=prefix)

    return start


def plm_content(config: NewsConfig) -> str:
    """The language model that a stage starts from: the content of its folder, or its hub name."""
    source = locate_plm(config["plm"], [Path(config["data_path"])])
    if not Path(source).is_dir():
        return source
    files = sorted(p for p in Path(source).iterdir() if p.suffix in {".json", ".safetensors"})
    return content_key([part for file in files for part in (file.name, file)])


def _as_teacher(model: NewsRecommender) -> Teacher:
    return Teacher(model.news_encoder, model.user_encoder)
