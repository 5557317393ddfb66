"""A training batch that knows its articles on the host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_tinynews.data.fields import CANDIDATES, CONTEXT_ARTICLE, HISTORY


class BatchArticles(NamedTuple):
    """Distinct ids of a whole batch, whichever part of it this process reads, ascending."""

    ids: NDArray[np.int64]
    fresh: NDArray[np.int64]  # those of candidates, which are encoded in every step

    @classmethod
    def of(cls, batch: Interaction) -> BatchArticles | None:
        """The articles of a batch; ``None`` if it has no history or no candidates."""
        if HISTORY not in batch or CANDIDATES not in batch:
            return None
        fresh, ids = np.unique(batch[CANDIDATES].numpy()), batch[HISTORY].numpy()
        if CONTEXT_ARTICLE in batch:
            ids = np.append(ids, batch[CONTEXT_ARTICLE].numpy())
        return cls(np.union1d(ids, fresh), fresh)


class NewsBatch(Interaction):
    """RecBole's batch, moved asynchronously, with its ``articles`` and a process's ``shares``.

    Their ids are on the host, so that a step encodes them without waiting for the device.
    """

    def __init__(
        self,
        fields: dict[str, Tensor],
        articles: BatchArticles | None = None,
        shares: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(fields)
        self.articles, self.shares = articles, shares

    def __setitem__(self, name: str, values: Any) -> None:
        """Set a field; those of other articles make the known ids invalid."""
        super().__setitem__(name, values)
        if name in (HISTORY, CANDIDATES):
            self.articles = None

    def pin_memory(self) -> NewsBatch:
        """The batch in pinned memory, for torch's loader."""
        fields = {name: values.pin_memory() for name, values in self.interaction.items()}
        return NewsBatch(fields, self.articles, self.shares)

    def to(self, device: torch.device, selected_field: Any = None) -> NewsBatch:
        """The batch on a device."""
        fields = {
            name: values.to(device, non_blocking=True) for name, values in self.interaction.items()
        }
        return NewsBatch(fields, self.articles, self.shares)


def articles_of(batch: Any) -> BatchArticles | None:
    """The batch's articles, if they are known."""
    return getattr(batch, "articles", None)
