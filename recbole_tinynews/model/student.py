"""The bases of recommenders that learn from teachers as well as from labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_tinynews.data.fields import TEACHERS
from recbole_tinynews.data.popularity import wanted_counters
from recbole_tinynews.distillation.layer_losses import Compared, layer_pairs
from recbole_tinynews.distillation.loss_terms import Distillation, Weights
from recbole_tinynews.distillation.teacher_weighting import WEIGHTINGS, TeacherWeighting
from recbole_tinynews.distillation.tinynewsrec_losses import (
    StageTwoDistillation,
    TinyNewsRecDistillation,
)
from recbole_tinynews.encoder.hidden_states import StateRequest
from recbole_tinynews.encoder.layers import observable_states
from recbole_tinynews.encoder.one_text import OneTextEncoder
from recbole_tinynews.encoder.plm_files import plm_size
from recbole_tinynews.encoder.pooling import fitted_projection
from recbole_tinynews.model.article_reader import (
    ReadsTitlesByPLM,
    has_plm,
    plm_depth,
    plm_source,
    reads_vectors,
    starts_pretrained,
)
from recbole_tinynews.model.interface import Outputs
from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.settings.protocol import Settings

AT_ONCE = 4_096  # articles whose vectors are multiplied together
# Settings on which the tokens depend
SHARED = ("news_text", "max_title_length", "max_abstract_length", "mask_padding_in_news_pooling")


class Student(NewsRecommender):
    """A recommender whose loss compares its outputs with those of teachers.

    The trainer puts the teachers' outputs into the batch; the student holds no teacher. A subclass
    implements ``make_distillation``; all are PLM-NRs unless derived from another recommender too.
    ``weights`` is a NamedTuple class with the names of its losses, ``teacher_stage`` the stage that
    makes its teachers, of which there are as many as ``num_teachers`` says, or ``one_teacher``.
    """

    trainer_class = "DistillationTrainer"
    weights: ClassVar[Any] = None
    teacher_stage: ClassVar[str] = "finetune_teacher"
    one_teacher: ClassVar[bool] = False

    def __init__(self, config: Settings, dataset: Any) -> None:
        super().__init__(config, dataset)
        # losses are no part of a finished recommender
        self.distillation: Any = None
        if dataset is not None:
            self.distillation = self.make_distillation(config)
            self.teacher_states = self.distillation.teacher_states
            units = getattr(self.distillation, "loss_units", {})
            self.loss_units = {**self.loss_units, **units}

    @classmethod
    def conflicting_settings(cls, config: Settings, prefix: str) -> Iterator[str]:
        """Also require texts, a loss with a positive weight, and its teachers' counters."""
        yield from super().conflicting_settings(config, prefix)
        if reads_vectors(config):
            yield (
                f"{prefix}vectors={config['vectors']} is for teachers: {cls.__name__} reads texts. "
                "Set teacher_vectors instead"
            )
        try:
            wanted_counters(config)
        except ValueError as problem:
            yield str(problem)
        names = [f"{loss}_loss_weight" for loss in cls.learnt_losses()]
        if names and not any(config[name] for name in names):
            listed = ", ".join(prefix + name for name in names)
            yield f"{listed} are all 0, which leaves no loss. Raise one"

    @classmethod
    def learnt_losses(cls) -> tuple[str, ...]:
        """Names of the losses that the student learns from."""
        return () if cls.weights is None else cls.weights._fields

    @classmethod
    def loss_weights(cls, config: Settings) -> Any:
        """Weights of its losses from ``<name>_loss_weight``."""
        return cls.weights(*(config[f"{loss}_loss_weight"] for loss in cls.weights._fields))

    @classmethod
    def number_of_teachers(cls, config: Settings) -> int:
        """Number of teachers."""
        return 1 if cls.one_teacher else config["num_teachers"]

    def make_distillation(self, config: Settings) -> Distillation:
        """The losses, from ``Outputs`` and label to a NamedTuple."""
        raise NotImplementedError(
            f"{type(self).__name__} must implement make_distillation(config)."
        )

    def start_distillation(self, teachers: Sequence[Any], dataset: Any) -> None:
        """Hook before training, for losses that start from vectors of student and teachers."""

    def teacher_weighting(self, config: Settings) -> TeacherWeighting:
        """Maps scores ``[batch, teachers, candidates]`` and label to ``[batch, teachers]``."""
        return WEIGHTINGS[config["teacher_weighting"]]

    def losses(self, outputs: Outputs, interaction: Interaction) -> tuple[Tensor, ...]:
        """Weighted loss terms by name, each the mean over the batch."""
        return self.distillation(outputs, teachers_of(interaction), interaction[self.label_field])


def teachers_of(interaction: Interaction) -> list[Outputs]:
    """Outputs of each teacher for the batch; ``ValueError`` if it has none."""
    if TEACHERS not in interaction:
        raise ValueError(
            f"A student's loss expects a batch with the outputs of its teachers in {TEACHERS!r}, "
            "got one without. Train it with DistillationTrainer, or put FrozenTeachers.outputs "
            "there."
        )
    return interaction[TEACHERS]


class MultiTeacherStudent(Student):
    """Soft labels, projected vectors and the target, under teachers weighted for each sample.

    ``losses_of`` is the class of its losses, which chooses the items that are compared.
    """

    weights = Weights
    losses_of: ClassVar[type[TinyNewsRecDistillation]] = StageTwoDistillation
    _fits_projections = False

    def make_distillation(self, config: Settings) -> TinyNewsRecDistillation:
        """Losses on scores, on item and user vectors, and on the target."""
        of_teachers = config.for_stage(self.teacher_stage)
        one_space = has_plm(config) and has_plm(of_teachers)
        pretrained = starts_pretrained(config)
        errors = config["embedding_loss"] or ("balanced" if pretrained else "mse")
        self._fits_projections = pretrained and not one_space
        return self.losses_of(
            self.number_of_teachers(config),
            PLMNR.news_dim(of_teachers),
            self.news_dim(config),
            config["temperature"],
            self.loss_weights(config),
            self.teacher_weighting(config),
            config["shared_projection"],
            aligned=pretrained and one_space,
            balanced=errors == "balanced",
            masked=config["mask_padding_in_embedding_loss"],
        )

    @torch.no_grad()
    def start_distillation(self, teachers: Sequence[Any], dataset: Any) -> None:
        """Fit the projections if student and teachers start in different spaces."""
        if not self._fits_projections or not self.distillation.weights.embedding:
            return
        training, news = self.training, dataset.training_news()
        for recommender in (self.eval(), *teachers):
            recommender.news_encoder.encode_ahead(news)
        parts = torch.from_numpy(news).to(self.device).split(AT_ONCE)
        self.distillation.start_projections(
            [
                fitted_projection(
                    (self.article_vectors(ids), teacher.article_vectors(ids)) for ids in parts
                )
                for teacher in teachers
            ]
        )
        self.train(training)


class LayerStudent(ReadsTitlesByPLM, Student):
    """Base of students whose loss compares hidden states and attention (docs/method.md)."""

    # all news of a batch have hidden states, and vectors of earlier steps none
    fixed: ClassVar[Mapping[str, Any]] = {"history_cache_steps": 0}
    news_encoder: OneTextEncoder

    @classmethod
    def conflicting_settings(cls, config: Settings, prefix: str) -> Iterator[str]:
        """Also require hidden states that can be compared."""
        yield from super().conflicting_settings(config, prefix)
        teacher = config.for_stage(cls.teacher_stage)
        try:
            layer_pairs(plm_depth(config), plm_depth(teacher), config["layer_mapping"])
        except ValueError as mistake:
            yield str(mistake)
        yield from cls._unobservable(config, teacher)
        yield from cls._other_tokens(config, teacher)

    @classmethod
    def _unobservable(cls, config: Settings, teacher: Settings) -> Iterator[str]:
        """Errors for language models that do not expose the states compared."""
        if reads_vectors(teacher):
            yield (
                f"{cls.__name__} compares hidden states, and its teachers must have some, got "
                f"teacher_vectors={teacher['vectors']}. Leave it out, or choose another model"
            )
            return
        compared = {name for name in cls.learnt_losses() if config[f"{name}_loss_weight"]}
        if not config["finetune_layers"] or not compared & {"hidden", "attention"}:
            return
        first = frozenset({1})
        request = StateRequest(first, first if "attention" in compared else frozenset())
        for plm, source in {of["plm"]: plm_source(of) for of in (config, teacher)}.items():
            if refusal := observable_states(source).refusal(request, plm):
                yield refusal.removesuffix(".")

    @classmethod
    def _other_tokens(cls, config: Settings, teacher: Settings) -> Iterator[str]:
        """Errors for teachers that read other tokens."""
        for name in SHARED:
            if teacher[name] != config[name]:
                yield (
                    f"{cls.teacher_stage}_{name} expects {config[name]}, as the student has, got "
                    f"{teacher[name]}: their states are compared token by token. Set both equal"
                )

    def compared(self, config: Settings) -> Compared:
        """The layers that the losses compare, and their widths."""
        teacher, encoder = config.for_stage(self.teacher_stage), self.news_encoder.language_model
        pairs = layer_pairs(encoder.depth, plm_depth(teacher), config["layer_mapping"])
        learning = [pair for pair in pairs if pair.student > encoder.first_trained]
        width = plm_size(plm_source(teacher)).hidden
        return Compared(learning, encoder.embeddings_train, encoder.hidden_size, width)

    def calculate_loss(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """Weighted loss terms by name, each the mean over the batch."""
        return self.losses(self.score(interaction, self.distillation.student_states), interaction)
