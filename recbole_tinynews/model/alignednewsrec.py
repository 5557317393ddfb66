"""AlignedNewsRec, our own system (docs/method.md, section 12; evidence in docs/results.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from recbole_tinynews.data.articles import TrainingNews
from recbole_tinynews.distillation.loss_terms import Distillation, Terms, Weights, stacked_scores
from recbole_tinynews.encoder.vectors_of_file import VectorsOfFile
from recbole_tinynews.model.article_reader import ReadsTitlesByPLM, reads_vectors
from recbole_tinynews.model.baselines.zeroshotplm import ZeroShotPLM
from recbole_tinynews.model.interface import Outputs
from recbole_tinynews.model.matryoshka import Matryoshka
from recbole_tinynews.settings.protocol import Settings


class AlignedDistillation(Distillation):
    """Soft labels, directions of news vectors, and the target, under the mean of the teachers.

    ``T^2 CE(mean_i y^(t_i) / T, y^(s) / T) + mean over news of 1 - cos(n^(s), sum_i n^(t_i)) +
    CE(y^(s), y)``, our definition (docs/method.md, section 12). All vectors lie in the language
    model's space, so there are no projections; of a teacher's longer vectors the first entries
    count. ``temperature`` is T.
    """

    loss_units: ClassVar[Mapping[str, str]] = {"embedding": "articles"}

    def terms(self, student: Outputs, teachers: Sequence[Outputs], label: Tensor) -> Terms:
        """Soft labels of the mean scores, and directions of all articles' vectors."""
        news = student.news

        def directions() -> Tensor:
            vectors = torch.stack([teacher.news.all for teacher in teachers]).sum(0).detach()
            return cosine_distance(news.all, vectors[..., : news.all.shape[-1]], news.real)

        return {
            "distillation": lambda: self.soft_label(
                student.scores, stacked_scores(teachers).mean(dim=1)
            ),
            "embedding": directions,
        }


def cosine_distance(vectors: Tensor, others: Tensor, real: Tensor) -> Tensor:
    """Mean of ``1 - cos`` over ``real [batch, news]`` pairs of vectors ``[batch, news, dim]``."""
    # masked, since boolean indexing would synchronise with the device
    apart = (1 - F.cosine_similarity(vectors, others, dim=-1)) * real
    return apart.sum() / real.sum()


class AlignedNewsRec(ReadsTitlesByPLM, Matryoshka):
    """A student on clicks that starts with its finetuned teachers' user encoder.

    Pretrained heads (``head_init``) share the language model's space, so no projections are needed:
    ``NewsAligner`` on all articles first, then soft labels over (nearly) whole impressions.
    """

    weights = Weights

    @classmethod
    def conflicting_settings(cls, config: Settings, prefix: str) -> Iterator[str]:
        """Also require vectors in one common space."""
        yield from super().conflicting_settings(config, prefix)
        teachers = config.for_stage(cls.teacher_stage)
        for name, value in (("head_init", "pretrained"), ("news_dim", teachers["news_dim"])):
            for given, stage in ((config[name], prefix), (teachers[name], f"{cls.teacher_stage}_")):
                if given != value:
                    yield (
                        f"{stage}{name}={given} expects {value} in {cls.__name__}, whose vectors "
                        f"lie in its teachers' space. Set {stage}{name}={value}"
                    )

    def make_distillation(self, config: Settings) -> AlignedDistillation:
        """Soft labels, directions of news vectors, and the target."""
        return AlignedDistillation(config["temperature"], self.loss_weights(config))


class NewsAligner(AlignedNewsRec):
    """The stage before: trained on all articles of ``post_train_news``, without clicks."""

    reads: ClassVar[Any] = TrainingNews

    @torch.no_grad()
    def start_distillation(self, teachers: Sequence[Any], dataset: Any) -> None:
        """Start in the space of a teacher whose vectors are not its own language model's."""
        of_teacher = teachers[0].news_encoder
        if isinstance(of_teacher, VectorsOfFile) and not of_teacher.of_plm:
            ids = dataset.training_news()
            self.news_encoder.fit_heads(ids[of_teacher.tokens.lengths[ids] > 0], of_teacher)
        super().start_distillation(teachers, dataset)


class ZeroShotTeacher(ZeroShotPLM):
    """The untrained language model, without clicks."""

    reads: ClassVar[Any] = TrainingNews


class ZeroShotStudent(NewsAligner):
    """``AlignedNewsRec``'s alignment alone, without clicks; a user is the mean of the clicks."""

    teacher_stage = "zero_shot_teacher"

    def __init__(self, config: Settings, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.user_encoder.requires_grad_(False)

    @classmethod
    def news_dim(cls, config: Settings) -> int:
        """As the teacher's: the width of the language model, or of the vectors of a file."""
        given = reads_vectors(config.for_stage(cls.teacher_stage))
        return config["news_dim"] if given else ZeroShotPLM.news_dim(config)
