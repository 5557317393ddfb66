"""Several sizes in one student: losses at several depths and prefixes of the vector.

Kusupati et al., "Matryoshka Representation Learning", NeurIPS 2022, for the prefixes; Li et al.,
"2D Matryoshka Sentence Embeddings", 2024, for the depths. Here all sizes are trained in every step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from recbole_tinynews.data.fields import TEACHERS
from recbole_tinynews.distillation.loss_terms import loss_terms
from recbole_tinynews.encoder.hidden_states import StateRequest
from recbole_tinynews.encoder.layers import observable_states
from recbole_tinynews.encoder.news_encoder import NEWS_ENCODER
from recbole_tinynews.encoder.one_text import OneTextEncoder
from recbole_tinynews.encoder.pooling import principal_axes
from recbole_tinynews.model.article_reader import plm_depth, plm_source
from recbole_tinynews.model.interface import BatchContext
from recbole_tinynews.model.student import Student, teachers_of
from recbole_tinynews.settings.protocol import Settings

OF_USER = {"pooling.projection.weight": 1, "pad_doc": 0}  # axes along which they are cut


class Sizes(NamedTuple):
    """Numbers of layers and sizes of vectors that a student has, ascending, the whole last."""

    layers: tuple[int, ...]
    dims: tuple[int, ...]

    @classmethod
    def of(cls, settings: Settings, layers: int, dim: int) -> Sizes:
        """The sizes that the settings choose, and the student's own ``layers`` and ``dim``."""
        chosen = settings["matryoshka_layers"] or [], settings["matryoshka_dims"] or []
        whole = zip(chosen, (layers, dim), strict=True)
        return cls(*(tuple(sorted({*some, most})) for some, most in whole))


class Rotation(nn.Module):
    """The basis of the student's vectors in its teachers' space, NaN until it is set."""

    axes: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("axes", torch.full((dim, dim), float("nan")))

    @property
    def is_set(self) -> bool:
        """Whether the basis is set."""
        return not bool(self.axes.isnan().any())


class Matryoshka(Student):
    """A student with the sizes of ``matryoshka_layers`` and ``matryoshka_dims``.

    Its losses are sums over all sizes. With ``matryoshka_dims``, student and labels are rotated
    before the training, so that the first entries of a vector are its teachers' first principal
    axes; student and teachers have vectors in one space, and the user encoder is a ``UserEncoder``.
    """

    news_encoder: OneTextEncoder

    def __init__(self, config: Settings, dataset: Any) -> None:
        super().__init__(config, dataset)
        encoder, dim = self.news_encoder.language_model, self.news_dim(config)
        self.sizes = Sizes.of(config, encoder.depth, dim)
        encoder.add_exits(self.sizes.layers[:-1])
        self.rotation = Rotation(dim) if config["matryoshka_dims"] else None

    @classmethod
    def conflicting_settings(cls, config: Settings, prefix: str) -> Iterator[str]:
        """Also require sizes that the student can have."""
        yield from super().conflicting_settings(config, prefix)
        yield from _unfit_layers(config, prefix)
        dims, dim = config["matryoshka_dims"], cls.news_dim(config)
        if dims and max(dims) > dim:
            yield (
                f"{prefix}matryoshka_dims expects sizes up to news_dim={dim}, got {dims}. Lower "
                "them"
            )
        if dims and config["user_encoder"] == "self_attention":
            yield (
                f"{prefix}matryoshka_dims cannot cut {prefix}user_encoder=self_attention, which "
                f"reads whole vectors. Set another {prefix}user_encoder, or "
                f"{prefix}matryoshka_dims=~"
            )

    @torch.no_grad()
    def start_distillation(self, teachers: Sequence[Any], dataset: Any) -> None:
        """Rotate the student to the principal axes of its teachers' vectors, once."""
        super().start_distillation(teachers, dataset)
        if self.rotation is None or self.rotation.is_set:
            return
        news = torch.from_numpy(dataset.training_news()).to(self.device)
        vectors = sum(teacher.encode_news(news) for teacher in teachers).double()
        axes = principal_axes(vectors.T @ vectors, self.sizes.dims[-1])
        self.rotation.axes.copy_(axes)
        encoder: Any = self.news_encoder.language_model
        user: Any = self.user_encoder
        every: list[Any] = [encoder.heads, *encoder.exit_heads.values()]
        for heads in every:
            for weight in (heads["dense"].weight, heads["dense"].bias):
                weight.copy_(axes @ weight.double())
        user.pad_doc.copy_(axes @ user.pad_doc.double())
        projection: Tensor = user.pooling.projection.weight
        projection.copy_(projection.double() @ axes.T)

    def rotated(self, vectors: Tensor) -> Tensor:
        """A teacher's vectors ``[..., dim]`` in the student's basis."""
        return vectors if self.rotation is None else vectors @ self.rotation.axes.T

    def calculate_loss(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """The losses of each size, summed by name."""
        if self.rotation is None and len(self.sizes.layers) == 1:
            return super().calculate_loss(interaction)
        news, teachers = self.encode(interaction), teachers_of(interaction)
        labels = [self.rotated(teacher.news.all) for teacher in teachers]
        every: list[Any] = []
        for vectors in news.all.split(self.sizes.dims[-1], dim=-1):  # of each number of layers
            for dim in self.sizes.dims:
                interaction[TEACHERS] = [
                    teacher._replace(news=teacher.news._replace(all=label[..., :dim]))
                    for teacher, label in zip(teachers, labels, strict=True)
                ]
                prefix = F.normalize(vectors[..., :dim], dim=-1)
                every.append(self.losses(self.outputs_of(news._replace(all=prefix)), interaction))
        interaction[TEACHERS] = teachers
        sums = zip(every[0]._fields, *every, strict=True)
        return loss_terms({name: sum(terms) for name, *terms in sums})

    def _encode_users(
        self, history: Tensor, clicked: Tensor, context: BatchContext | None
    ) -> Tensor:
        dim = history.shape[-1]
        if dim == self.sizes.dims[-1]:
            return super()._encode_users(history, clicked, context)
        weights = of_prefix(self.user_encoder, dim)
        return functional_call(self.user_encoder, weights, (history, clicked))

    def cut_vectors(self, dim: int) -> None:
        """Keep the first ``dim`` entries of news vectors, as their losses saw them."""
        dense = self.news_encoder.language_model.dense
        user: Any = self.user_encoder
        dense.weight, dense.bias = (
            nn.Parameter(weight[:dim].detach().clone()) for weight in (dense.weight, dense.bias)
        )
        dense.out_features = dim
        for name, value in of_prefix(user, dim).items():
            user.get_parameter(name).data = value.detach().clone()
        user.pooling.projection.in_features = dim
        self.sizes = Sizes(self.sizes.layers, (dim,))


def of_layers(weights: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """A student's weights with the heads of its first ``layers`` layers as those of all."""
    whole = f"{NEWS_ENCODER}.text_encoder."
    own = f"{whole}exit_heads.{layers}."
    heads = {
        whole + name.removeprefix(own): value
        for name, value in weights.items()
        if name.startswith(own)
    }
    return {**weights, **heads}


def of_prefix(user_encoder: nn.Module, dim: int) -> dict[str, Tensor]:
    """The weights of a ``UserEncoder`` for the first ``dim`` entries of news vectors."""
    return {
        name: value.narrow(OF_USER[name], 0, dim) if name in OF_USER else value
        for name, value in user_encoder.named_parameters()
    }


def _unfit_layers(config: Settings, prefix: str) -> Iterator[str]:
    layers = config["matryoshka_layers"]
    if not layers:
        return
    depth, trained = plm_depth(config), config["finetune_layers"]
    first = 1 if trained == "all" else max(1, depth - trained)
    if not first <= min(layers) <= max(layers) <= depth:
        yield (
            f"{prefix}matryoshka_layers expects {first} to {depth}, whose states train, got "
            f"{layers}. Set {prefix}finetune_layers=all for fewer layers"
        )
    observable, wanted = observable_states(plm_source(config)), StateRequest(frozenset({1}))
    if refusal := observable.refusal(wanted, config["plm"]):
        yield refusal.removesuffix(".")
