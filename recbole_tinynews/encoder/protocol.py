"""Base class of news encoders, and the interface of a language model's layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.encoder.packing import PackedTexts
from recbole_tinynews.encoder.planning import ArticlePlanner, EncodingPlan
from recbole_tinynews.encoder.states import Tap, Taps


class EncodesNews(nn.Module):
    """News ids in, vectors out: the base of news encoders.

    A subclass sets ``tokens``, the token ids of each text by news id (row 0 is padding and empty),
    and implements ``forward``, ``encode_distinct`` and ``encode_texts``. The other methods do
    nothing here (``tapped`` refuses): they are for encoders that plan batches, cache vectors or
    have inner states. Declare ``NewsEncoder`` for more, such as access to layers.
    """

    tokens: Ragged

    def forward(self, news_ids: Tensor) -> Tensor:
        """News vectors, ``[*news_ids.shape, news_dim]``, for ids of any shape.

        Ids may repeat; id 0 is padding and gives zeros. An encoder with a cache encodes each
        article once until a weight changes, in evaluation mode and without gradients.
        """
        raise NotImplementedError

    def encode_distinct(self, ids: NDArray[np.int64]) -> Tensor:
        """Vectors of distinct ids, ``[ids, news_dim]``, computed now; zeros for empty texts."""
        raise NotImplementedError

    def encode_texts(self, columns: Mapping[str, Sequence[str]]) -> Tensor:
        """Vectors of articles outside the data set, ``[articles, news_dim]``, without gradients.

        Nothing is cached or changed, so threads may share the encoder. ``columns`` has one entry
        per article in those of ``title``, ``abstract``, ``body``, ``category`` and ``subcategory``
        that are read. A missing or unknown category counts as none; for a missing text, or an
        encoder that cannot do this, it raises ``ValueError``.
        """
        raise NotImplementedError

    def start_heads(self, ids: NDArray[np.int64], centred: bool) -> None:
        """Initialise heads that start from the vectors of distinct training texts, ``ids``."""

    def planner(self, shared: bool = False) -> ArticlePlanner | None:
        """Planner for the encoder's current state; if ``shared``, each process encodes a part."""
        return None

    def planned(self, plan: EncodingPlan | None) -> AbstractContextManager[None]:
        """Follow this plan, which holds all ids of the batch, without synchronising the device."""
        return nullcontext()

    def encode_ahead(
        self, ids: NDArray[np.int64], show_progress: bool = False, folder: Path | None = None
    ) -> None:
        """Encode distinct ids now and cache them until weights change, in ``folder`` if given."""

    def reusing_all_but(self, news_ids: Tensor) -> AbstractContextManager[None]:
        """Allow reuse of vectors of earlier steps for all but these ids, the candidates."""
        return nullcontext()

    def tapped(self, taps: Taps) -> AbstractContextManager[Tap]:
        """Collect inner states of everything encoded; ``ValueError`` if there are none."""
        raise ValueError(
            f"A loss on inner states expects one language model whose layers can be observed, got "
            f"{type(self).__name__}. Set news_encoder=plm and views=[title], or the loss's weight "
            "to 0."
        )

    def tap_ahead(
        self, ids: NDArray[np.int64], taps: Taps, share: float, show_progress: bool = False
    ) -> None:
        """Compute inner states of these ids for evaluation, if they fit this share of memory."""

    def without_tables(self) -> AbstractContextManager[None]:
        """Compute every layer, as for an article never seen before."""
        return nullcontext()

    def close_table(self) -> None:
        """Free the table of frozen states, which is reopened when needed."""


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
