"""Interfaces of a news encoder, which is a torch module, and of a language model's layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.encoder.packing import PackedTexts
from recbole_tinynews.encoder.states import Tap, Taps


class EncodesNews(Protocol):
    """News ids in, vectors out; declare ``NewsEncoder`` for more, such as access to layers."""

    training: bool

    def train(self, mode: bool = True) -> Any:
        """Set the mode; training mode drops cached vectors."""

    def eval(self) -> Any:
        """Set evaluation mode."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """All weights."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """All weights by name."""

    @property
    def tokens(self) -> Ragged:
        """Token ids of each text, by news id; row 0 is padding and empty."""

    @property
    def pad_token_id(self) -> int:
        """The token that pads texts."""

    def __call__(self, news_ids: Tensor) -> Tensor:
        """News vectors, ``[*news_ids.shape, news_dim]``, for ids of any shape.

        Ids may repeat; id 0 is padding and gives zeros. In evaluation mode and without gradients,
        each article is encoded once until a weight changes.
        """

    def encode_distinct(self, ids: NDArray[np.int64]) -> Tensor:
        """Vectors of distinct ids, ``[ids, news_dim]``, computed now; zeros for empty texts."""

    def encode_texts(self, columns: Mapping[str, Sequence[str]]) -> Tensor:
        """Vectors of articles outside the data set, ``[articles, news_dim]``, without gradients.

        Nothing is cached or changed, so threads may share the encoder. ``columns`` has one entry
        per article in those of ``title``, ``abstract``, ``body``, ``category`` and ``subcategory``
        that are read. A missing or unknown category counts as none; for a missing text, or an
        encoder that cannot do this, it raises ``ValueError``.
        """

    def encode_ahead(
        self, ids: NDArray[np.int64], show_progress: bool = False, folder: Path | None = None
    ) -> None:
        """Encode distinct ids now and cache them until weights change, in ``folder`` if given."""

    def reusing_all_but(self, news_ids: Tensor) -> AbstractContextManager[None]:
        """Allow reuse of vectors of earlier steps for all but these ids, the candidates."""

    def tapped(self, taps: Taps) -> AbstractContextManager[Tap]:
        """Collect inner states of everything encoded; ``ValueError`` if there are none."""

    def without_tables(self) -> AbstractContextManager[None]:
        """Compute every layer, as for an article never seen before."""


class Shown(NamedTuple):
    """Which inner states of a language model can be observed."""

    states: bool  # outputs of each layer
    attention: bool  # scores of each layer's attention

    def refusal(self, taps: Taps, name: str) -> str | None:
        """Why a model of this name cannot provide these states; ``None`` if it can."""
        # the embedding output and the pooled text are always available
        if (taps.hidden - {0} or taps.attention) and not self.states:
            return (
                "A loss on inner states expects a language model whose layers can be observed one "
                f"by one, got {name}. Set its weight to 0, or choose another plm."
            )
        if taps.attention and not self.attention:
            return (
                "A loss on attention expects a language model that exposes its scores, got "
                f"{name}, whose attention cannot be replaced. Set attention_loss_weight=0, or "
                "choose another plm."
            )
        return None


class Layers(Protocol):
    """The parts of a language model, and how they are run."""

    shown: Shown
    around: list[nn.Module]  # modules that contain the others, from the model itself on
    before: list[nn.Module]  # parts that run before the first layer, such as the embeddings
    layers: list[nn.Module]
    after: list[nn.Module]  # parts that run after the last layer, such as a final norm

    def embed(self, texts: PackedTexts) -> Tensor:
        """Input of the first layer, ``[tokens, hidden]``."""

    def through(
        self, numbers: range, hidden: Tensor, texts: PackedTexts, tap: Tap | None
    ) -> Tensor:
        """Output of these layers, ``[tokens, hidden]``; after the model's last, of ``after``."""
