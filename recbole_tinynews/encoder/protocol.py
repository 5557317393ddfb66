"""The interfaces of a news encoder and of the layers of a language model.

Implementations are modules of torch.
"""

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
    """News ids in, news vectors out: for recommenders, teachers, ranking and measurement.

    Recommenders that need more, such as its layers, declare ``news_encoder: NewsEncoder``.
    """

    training: bool

    def train(self, mode: bool = True) -> Any:
        """Set the mode; training mode drops cached vectors."""

    def eval(self) -> Any:
        """Set evaluation mode."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """All its weights."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """All its weights by name, for the number of parameters."""

    @property
    def tokens(self) -> Ragged:
        """Token ids of each text, by news id; row 0, of padding, is empty."""

    @property
    def pad_token_id(self) -> int:
        """The token that pads texts."""

    def __call__(self, news_ids: Tensor) -> Tensor:
        """News vectors, ``[*news_ids.shape, news_dim]``, from any shape of ids.

        Ids may repeat; id 0 is padding and gives zeros. In evaluation mode and without gradients
        each article is encoded once until a weight changes.
        """

    def encode_distinct(self, ids: NDArray[np.int64]) -> Tensor:
        """Vectors of distinct ids, ``[ids, news_dim]``, computed now; zeros for empty texts."""

    def encode_texts(self, columns: Mapping[str, Sequence[str]]) -> Tensor:
        """Vectors of articles outside the data set, ``[articles, news_dim]``, without gradients.

        Nothing is cached or changed: threads may share the encoder.

        Args:
            columns: ``title``, ``abstract``, ``body``, ``category`` and ``subcategory``, as far as
                they are read, with one entry per article. A missing or unknown category counts as
                none.

        Raises:
            ValueError: a text that is read is missing, or articles cannot be given.
        """

    def encode_ahead(
        self, ids: NDArray[np.int64], show_progress: bool = False, folder: Path | None = None
    ) -> None:
        """Encode distinct ids now, and cache them until the weights change.

        In ``folder`` the vectors are kept for the next training.
        """

    def reusing_all_but(self, news_ids: Tensor) -> AbstractContextManager[None]:
        """Inside, vectors of earlier steps may be reused for all but these ids, the candidates."""

    def tapped(self, taps: Taps) -> AbstractContextManager[Tap]:
        """Inside, the tap collects the inner states of all that is encoded.

        Raises:
            ValueError: it has none.
        """

    def without_tables(self) -> AbstractContextManager[None]:
        """Inside, every layer is computed, as for an article never seen before."""


class Shown(NamedTuple):
    """Which inner states of a language model can be observed.

    Attributes:
        states: the output of each layer.
        attention: the scores of each layer's attention.
    """

    states: bool
    attention: bool

    def refusal(self, taps: Taps, name: str) -> str | None:
        """Why a model of this name can't give the states of the taps; ``None``: it can."""
        # the embedding output and the pooled text can always be seen
        if (taps.hidden - {0} or taps.attention) and not self.states:
            return (
                "A loss on inner states expects a language model whose layers can be seen one by "
                f"one, got {name}. Set its weight to 0, or choose another plm."
            )
        if taps.attention and not self.attention:
            return (
                "A loss on attention expects a language model that gives its scores, got "
                f"{name}, whose attention cannot be exchanged. Set attention_loss_weight=0, or "
                "choose another plm."
            )
        return None


class Layers(Protocol):
    """The parts of a language model, and how they are run.

    Attributes:
        shown: which inner states can be observed.
        around: the modules that contain the others, from the model itself on.
        before: the parts that run before the first layer, such as the embeddings.
        layers: first to last.
        after: the parts that run after the last one, such as a final norm.
    """

    shown: Shown
    around: list[nn.Module]
    before: list[nn.Module]
    layers: list[nn.Module]
    after: list[nn.Module]

    def embed(self, texts: PackedTexts) -> Tensor:
        """Input of the first layer, ``[tokens, hidden]``."""

    def through(
        self, numbers: range, hidden: Tensor, texts: PackedTexts, tap: Tap | None
    ) -> Tensor:
        """Output of the last of these layers, counted from 1; after all of them, of ``after``.

        Shapes:
            hidden: ``[tokens, hidden]``, the input of the first of them.
        """
