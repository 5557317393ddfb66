"""Several sizes in one student: losses at several depths and prefixes of the vector.

Kusupati et al., "Matryoshka Representation Learning", NeurIPS 2022, for the prefixes; Li et al.,
"2D Matryoshka Sentence Embeddings", 2024, for the depths. Here all sizes are trained in every step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from torch import Tensor, nn

from recbole_tinynews.encoder.layers import shown_by
from recbole_tinynews.encoder.news_encoder import NEWS_ENCODER
from recbole_tinynews.encoder.states import Taps
from recbole_tinynews.model.text_encoders import plm_depth, plm_source
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


def unfit_sizes(config: Settings, dim: int, prefix: str) -> Iterator[str]:
    """Errors in ``matryoshka_layers`` and ``matryoshka_dims``; ``dim`` is the whole vector's."""
    layers, dims = config["matryoshka_layers"], config["matryoshka_dims"]
    if layers:
        depth, trained = plm_depth(config), config["finetune_layers"]
        first = 1 if trained == "all" else max(1, depth - trained)
        if not first <= min(layers) <= max(layers) <= depth:
            yield (
                f"{prefix}matryoshka_layers expects {first} to {depth}, whose states train, got "
                f"{layers}. Set {prefix}finetune_layers=all for fewer layers"
            )
        refusal = shown_by(plm_source(config)).refusal(Taps(frozenset({1})), config["plm"])
        if refusal is not None:
            yield refusal.removesuffix(".")
    if not dims:
        return
    if max(dims) > dim:
        yield f"{prefix}matryoshka_dims expects sizes up to news_dim={dim}, got {dims}. Lower them"
    if config["user_encoder"] == "self_attention":
        yield (
            f"{prefix}matryoshka_dims cannot cut {prefix}user_encoder=self_attention, which reads "
            f"whole vectors. Set another {prefix}user_encoder, or {prefix}matryoshka_dims=~"
        )
