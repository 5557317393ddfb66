"""AlignedNewsRec, our own system (docs/method.md, section 12; evidence in docs/results.md)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from recbole_tinynews.data.training_news import TrainingNews
from recbole_tinynews.distillation.aligned import AlignedDistillation
from recbole_tinynews.distillation.loss_terms import Weights, loss_terms
from recbole_tinynews.distillation.outputs import BatchIds, Outputs
from recbole_tinynews.encoder.news_encoder import NewsEncoder
from recbole_tinynews.encoder.pretrained_heads import principal_axes
from recbole_tinynews.model.matryoshka import Sizes, of_prefix, unfit_sizes
from recbole_tinynews.model.student import Student, is_article, teachers_of
from recbole_tinynews.settings.protocol import Settings


class AlignedNewsRec(Student):
    """A student on clicks that starts with its finetuned teachers' user encoder.

    Pretrained heads (``head_init``) share the language model's space, so no projections are needed:
    ``NewsAligner`` on all articles first, then soft labels over (nearly) whole impressions. The
    losses are sums over all sizes, including ``matryoshka_layers`` and ``matryoshka_dims``; the
    first entries of a vector then are its teachers' first principal axes.
    """

    weights = Weights
    needs_language_model = True
    news_encoder: NewsEncoder

    def __init__(self, config: Settings, dataset: Any) -> None:
        super().__init__(config, dataset)
        encoder = self.news_encoder.text_encoder
        self.sizes = Sizes.of(config, encoder.depth, self.news_dim(config))
        encoder.add_exits(self.sizes.layers[:-1])

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
        yield from unfit_sizes(config, cls.news_dim(config), prefix)

    def make_distillation(self, config: Settings) -> AlignedDistillation:
        """Soft labels, directions of news vectors, and the target."""
        rotated = self.news_dim(config) if config["matryoshka_dims"] else None
        return AlignedDistillation(config["temperature"], self.loss_weights(config), rotated)

    @torch.no_grad()
    def start_distillation(self, teachers: Sequence[Any], dataset: Any) -> None:
        """Rotate student and labels to the principal axes of the teachers' vectors, once."""
        if self.distillation.axes is None or self.distillation.has_axes:
            return
        news = torch.from_numpy(dataset.training_news()).to(self.device)
        vectors = sum(each.encode_news(news) for each in teachers).double()
        axes = principal_axes(vectors.T @ vectors, self.sizes.dims[-1])
        self.distillation.axes.copy_(axes)
        encoder = self.news_encoder.text_encoder
        user: Any = self.user_encoder
        every: list[Any] = [encoder.heads, *encoder.exit_heads.values()]
        for heads in every:
            for weight in (heads["dense"].weight, heads["dense"].bias):
                weight.copy_(axes @ weight.double())
        user.pad_doc.copy_(axes @ user.pad_doc.double())
        projection: Tensor = user.pooling.projection.weight
        projection.copy_(projection.double() @ axes.T)

    def calculate_loss(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """The losses of each size, summed by name."""
        if self.sizes == Sizes(self.sizes.layers[-1:], self.sizes.dims[-1:]):
            return super().calculate_loss(interaction)
        news, whole = self.encode(interaction), self.sizes.dims[-1]
        every: list[Any] = []
        for parts in zip(
            news.candidates.split(whole, -1), news.history.split(whole, -1), strict=True
        ):
            for dim in self.sizes.dims:
                candidates, history = (F.normalize(part[..., :dim], dim=-1) for part in parts)
                outputs = self.outputs_of(news._replace(candidates=candidates, history=history))
                every.append(self.losses(outputs, interaction))
        return loss_terms(
            {name: sum(terms) for name, *terms in zip(every[0]._fields, *every, strict=True)}
        )

    def _encode_users(self, history: Tensor, clicked: Tensor, about: BatchIds | None) -> Tensor:
        dim = history.shape[-1]
        if dim == self.sizes.dims[-1]:
            return super()._encode_users(history, clicked, about)
        weights = of_prefix(self.user_encoder, dim)
        return functional_call(self.user_encoder, weights, (history, clicked))

    def cut_vectors(self, dim: int) -> None:
        """Keep the first ``dim`` entries of news vectors, as their losses saw them."""
        dense: nn.Linear = self.news_encoder.text_encoder.dense
        user: Any = self.user_encoder
        dense.weight, dense.bias = (
            nn.Parameter(each[:dim].detach().clone()) for each in (dense.weight, dense.bias)
        )
        dense.out_features = dim
        for name, value in of_prefix(user, dim).items():
            user.get_parameter(name).data = value.detach().clone()
        user.pooling.projection.in_features = dim
        self.sizes = Sizes(self.sizes.layers, (dim,))

    def losses(self, outputs: Outputs, interaction: Interaction) -> tuple[Tensor, ...]:
        """Weighted loss terms by name, each the mean over the batch."""
        label, real = interaction[self.label_field], is_article(interaction)
        return self.distillation(outputs, teachers_of(interaction), label, real)


class NewsAligner(AlignedNewsRec):
    """The stage before: trained on all articles of ``post_train_news``, without clicks."""

    reads: ClassVar[Any] = TrainingNews
