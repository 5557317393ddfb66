"""What the news of the task offer to the training data of a stage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from numpy.typing import NDArray
from torch import Tensor

from recbole_tinynews.data.impressions import Impressions


class TaskNews(Protocol):
    """The data set of a run as its stages read it, whichever class it is.

    Attributes:
        dataset_name: for messages.
        cache_dir: where arrays made of it are kept; ``None``: nowhere.
        news_text: ``title``, ``abstract`` and ``body`` of every news id; padding is empty.
        field2id_token: names of the values of a column of tokens.
        item_feat: ``category`` and ``subcategory`` indices of every news id.
        inter_feat: the training impressions.
    """

    dataset_name: str
    cache_dir: Path | None
    news_text: Mapping[str, list[str]]
    field2id_token: Mapping[str, NDArray]
    item_feat: Mapping[str, Tensor]
    inter_feat: Impressions
