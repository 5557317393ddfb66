"""A stage, the stages of each system, and how each hands on what it made to the next."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from logging import getLogger
from pathlib import Path
from typing import NamedTuple

from recbole.utils import init_seed, set_color

from recbole_tinynews.artifact import (
    METRICS,
    WEIGHTS,
    Artifact,
    Weights,
    fingerprint,
    read_artifact,
    settings_that_matter,
    source_of,
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
from recbole_tinynews.trainer.training_state import STATE
from recbole_tinynews.trainer.weights import load_into

PLM_FILES = frozenset((".json", ".safetensors", ".bin", ".txt", ".model"))  # weights and tokenizer


class Start(NamedTuple):
    """Weights that an earlier stage hands to a new model, and how they are put into it."""

    weights: Weights
    put: Callable[[NewsRecommender, Weights], None]


class Run:
    """One run of a system: its settings, its data, and the artifacts of the stages so far."""

    def __init__(self, config: NewsConfig, dataset: NewsDataset) -> None:
        self.config, self.dataset = config, dataset
        train, self.valid, self.test = dataset.build()
        assert train is not None, "a data set without training impressions is refused when read"
        self.train = train
        self.artifacts: list[Artifact] = []
        self._articles: dict[tuple, TitleBodyDataset] = {}

    def stage_config(self, stage: str) -> NewsConfig:
        """The settings of a stage; the last one has the plain ones."""
        return self.config.for_stage(stage) if stage in STAGES else self.config

    def data_of(self, model_class: type, config: NewsConfig) -> NewsDataset | TitleBodyDataset:
        """What a model reads: articles in post-training, else the impressions of training."""
        if not issubclass(model_class, TitleBodyMatcher):
            return self.train
        corpus = config["post_train_corpus"]
        source = locate_plm(config["plm"], [Path(config["data_path"])])
        lengths = config["max_title_length"], config["max_body_length"]
        sampling = config["negatives"], config["seed"]
        wanted = (corpus, source, *lengths, *sampling)
        if wanted not in self._articles:  # a corpus is large, and M teachers read the same
            self._articles[wanted] = TitleBodyDataset(
                read_corpus(Path(corpus)) if corpus else articles_of(self.dataset),
                load_tokenizer(source),
                *lengths,
                *sampling,
                self.dataset.cache_dir,
            )
        return self._articles[wanted]

    def rebuild(self, weights: Weights) -> NewsRecommender:
        """The recommender that the weights belong to."""
        config = self.stage_config(weights.stage)
        data = self.data_of(weights.model_class, config)
        model = weights.model_class(config, data).to(config["device"])
        load_into(model, weights.load(), weights.source)
        return model

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

        A training that was stopped goes on from its last saved state.

        Args:
            stage: its name; settings with it as prefix are its own.
            model_class: what is trained.
            after: artifacts that it stands on.
            start: what the new model starts with, if not with the language model alone.
            teachers: weights of the teachers that label its batches.
            number: which of several equal models; each has a seed of its own.
        """
        started = time.perf_counter()
        config = self.stage_config(stage)
        if number:
            config["seed"] += number
        data = self.data_of(model_class, config)
        settings = settings_that_matter(config, model_class, bool(teachers))
        contents = [
            data.content,
            plm_content(config),
            *(artifact.fingerprint for artifact in after),
            start.weights.source.name if start else "",
        ]
        mark = fingerprint(settings, [*contents, *source_of(model_class)])
        folder = Path(config["checkpoint_dir"]) / self.dataset.dataset_name / f"{stage}-{mark}"
        if config["fresh"]:
            shutil.rmtree(folder, ignore_errors=True)
        artifact = read_artifact(stage, model_class, mark, folder)
        label = set_color(f"Stage {stage}", "pink")
        if artifact is not None:
            getLogger().info(f"{label} is reused: {folder}")
        else:
            getLogger().info(f"{label} -> {folder}")
            (folder / METRICS).unlink(missing_ok=True)  # it marks a complete folder
            best = self._fit(config, model_class, data, folder, start, teachers)
            seconds = time.perf_counter() - started
            artifact = Artifact(stage, model_class, mark, folder, seconds, dict(best or {}))
            write_settings(folder, settings)
            write_metrics(folder, {"valid": artifact.valid, "seconds": seconds})
        shutil.rmtree(folder / STATE, ignore_errors=True)
        self.artifacts.append(artifact)
        return artifact

    def _fit(
        self,
        config: NewsConfig,
        model_class: type,
        data: NewsDataset | TitleBodyDataset,
        folder: Path,
        start: Start | None,
        teachers: Sequence[Weights],
    ) -> dict | None:
        init_seed(config["seed"], config["reproducibility"])
        model = model_class(config, data).to(config["device"])
        if start is not None:
            start.put(model, start.weights)
        trainer = find_trainer(model_class)(config, model)
        trainer.saved_model_file = str(folder / WEIGHTS)
        trainer.resume_checkpoint()
        if teachers:
            trainer.teachers = TeacherEnsemble([_as_teacher(self.rebuild(t)) for t in teachers])
        train, valid = self._loaders(config, data)
        return trainer.fit(train, valid, show_progress=config["show_progress"])[1]

    def _loaders(
        self, config: NewsConfig, data: NewsDataset | TitleBodyDataset
    ) -> tuple[TrainDataLoader, ImpressionDataLoader | None]:
        if isinstance(data, TitleBodyDataset):
            return TitleBodyDataLoader(config, data), ImpressionDataLoader(config, data)
        valid = ImpressionDataLoader(config, self.valid) if self.valid else None
        return ClickDataLoader(config, data), valid


def train_system(run: Run, model_class: type) -> Artifact:
    """All stages of the system, the model asked for last."""
    for base in model_class.__mro__:
        if base.__name__ in SYSTEMS:
            return SYSTEMS[base.__name__](run, model_class)
    return run.train_stage(model_class.__name__, model_class)


def tiny_newsrec(run: Run, model_class: type) -> Artifact:
    """Four stages (Tiny-NewsRec, EMNLP 2022, section 3).

    Post-train the teacher and keep its last M copies; post-train the student under them (Stage I);
    finetune each of them; finetune the student under the finetuned ones (Stage II).
    """
    teacher = run.train_stage("post_train_teacher", TitleBodyMatcher)
    copies = teacher.copies(run.config["num_teachers"])
    from_teacher = run.config["student_init"] == "teacher"
    student = run.train_stage(
        "post_train_student",
        TitleBodyStudent,
        after=[teacher],
        start=Start(teacher.weights, put_first_layers) if from_teacher else None,
        teachers=copies,
    )
    finetuned = [
        run.train_stage(
            "finetune_teacher",
            PLMNR,
            after=[teacher],
            start=Start(copy, put_news_encoder),
            number=number,
        )
        # the last copy is number 0, so that fewer teachers are the last of more
        for number, copy in enumerate(reversed(copies))
    ]
    return run.train_stage(
        model_class.__name__,
        model_class,
        after=[student, *finetuned],
        start=Start(student.weights, put_news_encoder),
        teachers=[artifact.weights for artifact in finetuned],
    )


SYSTEMS: dict[str, Callable[[Run, type], Artifact]] = {"TinyNewsRec": tiny_newsrec}


def put_news_encoder(model: NewsRecommender, weights: Weights) -> None:
    """Start with the whole news encoder of an earlier stage; every weight must be there."""
    prefix = "news_encoder."
    of_encoder = {n: v for n, v in weights.load().items() if n.startswith(prefix)}
    load_into(model.news_encoder, of_encoder, weights.source, prefix)


def put_first_layers(model: NewsRecommender, weights: Weights) -> None:
    """Start with as many of the teacher's first layers as the student has (``student_init``).

    Pooling and dense layer stay random, as they do behind the layers of the plain language model.
    """
    plm, prefix = model.news_encoder.plm, "news_encoder.plm."
    wanted = {f"{prefix}{name}" for name in plm.state_dict()}
    kept = {name: value for name, value in weights.load().items() if name in wanted}
    load_into(plm, kept, weights.source, prefix)


def plm_content(config: NewsConfig) -> str:
    """The language model that a stage starts from: the content of its folder, or its hub name."""
    source = locate_plm(config["plm"], [Path(config["data_path"])])
    if not Path(source).is_dir():
        return source
    files = sorted(p for p in Path(source).iterdir() if p.suffix in PLM_FILES)
    return content_key([part for file in files for part in (file.name, file)])


def _as_teacher(model: NewsRecommender) -> Teacher:
    return Teacher(model.news_encoder, model.user_encoder)
