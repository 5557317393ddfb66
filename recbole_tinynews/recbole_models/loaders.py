"""Data loaders for RecBole's own models: RecBole's where possible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from recbole.data.dataloader import AbstractDataLoader, TrainDataLoader, UserDataLoader
from recbole.data.interaction import Interaction
from recbole.data.transform import InverseItemSequence
from recbole.sampler import RepeatableSampler, Sampler

from recbole_tinynews.data.dataloader import id_tensor
from recbole_tinynews.data.fields import IMPRESSION, IMPRESSION_SIZE
from recbole_tinynews.data.impressions import ArticleFacts, Impressions
from recbole_tinynews.recbole_models.feeds import Rows
from recbole_tinynews.recbole_models.interactions import InteractionDataset
from recbole_tinynews.settings.protocol import Settings


def train_loader(config: Settings, dataset: InteractionDataset) -> AbstractDataLoader:
    """Training loader for the model's rows, with negatives as configured."""
    if len(dataset) == 0:
        raise ValueError(
            f"{config['model']} expects clicks among the training impressions of "
            f"'{dataset.dataset_name}', got none. Check NAME.report.json."
        )
    if dataset.feed.rows is Rows.USERS:
        return UserDataLoader(config, dataset, None, shuffle=True)
    return TrainDataLoader(config, dataset, _sampler(config, dataset), shuffle=config["shuffle"])


def _sampler(config: Settings, dataset: InteractionDataset) -> Any:
    arguments = config["train_neg_sample_args"]
    distribution, alpha = arguments["distribution"], arguments["alpha"]
    if distribution == "none":
        return None
    if config["repeatable"]:
        return RepeatableSampler(["train"], dataset, distribution, alpha).set_phase("train")
    return Sampler(["train"], [dataset], distribution, alpha).set_phase("train")


class RowDataLoader(AbstractDataLoader):
    """Evaluation batches of whole impressions, one row per candidate, up to ``eval_batch_size``.

    A larger impression is its own batch. ``impression`` and ``impression_size`` have the shape
    ``[impressions]``, so batches can't be indexed by row.
    """

    def __init__(self, config: Settings, dataset: InteractionDataset) -> None:
        self.impressions: Impressions = dataset.impressions
        self.facts: ArticleFacts | None = dataset.facts
        self.bounds = packed(self.impressions.candidates.lengths, config["eval_batch_size"])
        self.sample_size = len(self.bounds) - 1
        super().__init__(config, dataset, None, shuffle=False)

    def _init_batch_size_and_step(self) -> None:
        self.step = 1  # one pack of impressions
        self.set_batch_size(self.config["eval_batch_size"])

    def collate_fn(self, index: Sequence[int]) -> tuple[Interaction, None, None, None]:
        """A pack of impressions, in the form that RecBole's evaluation expects."""
        (pack,) = index
        impressions = np.arange(self.bounds[pack], self.bounds[pack + 1])
        candidates = self.impressions.candidates
        batch = self._dataset.rows(candidates.positions(impressions))
        if isinstance(self.transform, InverseItemSequence):  # others augment training
            batch = self.transform(self._dataset, batch)
        batch[IMPRESSION] = id_tensor(impressions)
        batch[IMPRESSION_SIZE] = id_tensor(candidates.lengths_of(impressions))
        return batch, None, None, None


def packed(sizes: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Bounds of consecutive packs with at most ``most`` rows, or one larger impression.

    >>> packed(np.array([3, 2, 9, 1]), 5).tolist()
    [0, 2, 3, 4]
    """
    ends = np.append(0, np.cumsum(sizes))
    bounds = [0]
    while bounds[-1] < len(sizes):
        start = bounds[-1]
        stop = int(np.searchsorted(ends, ends[start] + most, side="right")) - 1
        bounds.append(max(stop, start + 1))
    return np.array(bounds)
