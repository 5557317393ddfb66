"""What the data set of a run offers to the training data of its stages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from numpy.typing import NDArray
from torch import Tensor

from recbole_tinynews.data.impressions import Impressions


class TaskNews(Protocol):
    """The part of a run's data set that stages read, whatever its class.

    Attributes:
        dataset_name: for messages.
        cache_dir: folder of cached arrays; ``None``: nothing is cached.
        news_text: ``title``, ``abstract`` and ``body`` of every news id; padding is empty.
        field2id_token: tokens of a column by id.
        item_feat: ``category`` and ``subcategory`` indices of every news id.
        inter_feat: the training impressions.
    """

    dataset_name: str
    cache_dir: Path | None
    news_text: Mapping[str, list[str]]
    field2id_token: Mapping[str, NDArray]
    item_feat: Mapping[str, Tensor]
    inter_feat: Impressions
