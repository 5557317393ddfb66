"""The base of recommenders that learn from teachers as well as from labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_tinynews.data.fields import CANDIDATES, HISTORY, TEACHERS
from recbole_tinynews.data.popularity import wanted_counters
from recbole_tinynews.distillation.embedding import fitted_projection
from recbole_tinynews.distillation.loss_terms import Distillation, Weights
from recbole_tinynews.distillation.outputs import Outputs
from recbole_tinynews.distillation.teacher_weighting import WEIGHTINGS, TeacherWeighting
from recbole_tinynews.distillation.tinynewsrec_losses import TinyNewsRecDistillation
from recbole_tinynews.encoder.states import Taps
from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.model.text_encoders import reads_words, starts_pretrained
from recbole_tinynews.settings.protocol import Settings

AT_ONCE = 4_096  # articles whose vectors are multiplied together


class Student(NewsRecommender):
    """A recommender whose loss compares its outputs with those of teachers.

    The trainer puts the teachers' outputs into the batch; the student holds no teacher. A subclass
    implements ``make_distillation``; all are PLM-NRs unless derived from another recommender too.
    ``weights`` is a NamedTuple class with the names of its losses, ``teacher_stage`` the stage that
    makes its teachers, ``one_teacher`` whether it ignores ``num_teachers``.
    """

    trainer_class = "DistillationTrainer"
    weights: ClassVar[Any] = None
    teacher_stage: ClassVar[str] = "finetune_teacher"
    one_teacher: ClassVar[bool] = False

    def __init__(self, config: Settings, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.distillation: Any = self.make_distillation(config)

    @classmethod
    def conflicting_settings(cls, config: Settings, prefix: str) -> Iterator[str]:
        """Also require at least one loss with a positive weight, and its teachers' counters."""
        yield from super().conflicting_settings(config, prefix)
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

    @property
    def teacher_taps(self) -> Taps:
        """The inner states that its loss needs from its teachers."""
        return self.distillation.teacher_taps

    @property
    def counted_by(self) -> Mapping[str, str]:
        """The unit that each loss is averaged over, by loss name, where not samples."""
        return {**super().counted_by, **getattr(self.distillation, "counted_by", {})}

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


def is_article(interaction: Interaction) -> Tensor:
    """Whether each slot of history, then candidates, has an article, ``[batch, articles]``."""
    return torch.cat([interaction[HISTORY], interaction[CANDIDATES]], dim=1) != 0


class MultiTeacherStudent(Student):
    """Soft labels, projected vectors and the target, under teachers weighted for each sample."""

    weights = Weights
    losses_of_stage: ClassVar[type[TinyNewsRecDistillation]]
    _fits_projections = False

    def make_distillation(self, config: Settings) -> TinyNewsRecDistillation:
        """Losses on scores, on item and user vectors, and on the target."""
        of_teachers = config.for_stage(self.teacher_stage)
        one_space = not (reads_words(config) or reads_words(of_teachers))
        pretrained = starts_pretrained(config)
        balanced = (config["embedding_loss"] or ("balanced" if pretrained else "mse")) == "balanced"
        self._fits_projections = pretrained and not one_space
        return self.losses_of_stage(
            self.number_of_teachers(config),
            PLMNR.news_dim(of_teachers),
            self.news_dim(config),
            config["temperature"],
            self.loss_weights(config),
            self.teacher_weighting(config),
            config["shared_projection"],
            aligned=pretrained and one_space,
            balanced=balanced,
        )

    @torch.no_grad()
    def start_distillation(self, teachers: Sequence[Any], dataset: Any) -> None:
        """Fit the projections if student and teachers start in different spaces."""
        if not self._fits_projections or not self.distillation.weights.embedding:
            return
        training, news = self.training, dataset.training_news()
        for each in (self.eval(), *teachers):
            each.news_encoder.encode_ahead(news)
        parts = torch.from_numpy(news).to(self.device).split(AT_ONCE)
        self.distillation.start_projections(
            [
                fitted_projection(
                    (self.article_vectors(ids), each.article_vectors(ids)) for ids in parts
                )
                for each in teachers
            ]
        )
        self.train(training)
