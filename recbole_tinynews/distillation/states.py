"""Inner states of a language model, and which of them are asked for."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


class Taps(NamedTuple):
    """The layers whose states are wanted, counted from 1; hidden state 0 is the embedding output.

    The attention of a layer looks at the layer's input, its hidden state is the layer's output.
    ``pooled`` asks for the pooled texts, which come with any other state anyway.
    """

    hidden: frozenset[int] = frozenset()
    attention: frozenset[int] = frozenset()
    pooled: bool = False


NO_TAPS = Taps()


class States(NamedTuple):
    """Inner states of texts, concatenated, shortest text first, without any pad token.

    Encoders that read the same texts in the same tokens have the same rows.

    Shapes:
        ids: ``[texts]``, of the texts in this order; those without any token are left out.
        hidden: by layer, ``[tokens, hidden]``.
        attention: by layer, ``[pairs, heads]``: ``q . k / sqrt(head_dim)`` before the softmax, a
            row for each token of a text and each token of the same text that it looks at.
        pooled: ``[texts, hidden]``, before the dense layer.
        vectors: ``[texts, news_dim]``, after it.
    """

    ids: NDArray[np.int64]
    hidden: dict[int, Tensor]
    attention: dict[int, Tensor]
    pooled: Tensor
    vectors: Tensor
