"""Data loaders for RecBole's own models: RecBole's where possible."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from logging import getLogger
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
from recbole_tinynews.data.negatives import ImpressionNegatives
from recbole_tinynews.recbole_models.feeds import Rows
from recbole_tinynews.recbole_models.interactions import InteractionDataset
from recbole_tinynews.settings.protocol import Settings


def train_loader(config: Settings, dataset: InteractionDataset) -> AbstractDataLoader:
    """Training loader for the model's rows, with negatives as configured."""
    from_impression = dataset.feed.rows is Rows.PAIRS and config["impression_negatives"]
    rows = dataset.with_unclicked_beside() if from_impression else dataset
    if len(rows) == 0:
        wanted = "clicks beside an unclicked candidate" if from_impression else "clicks"
        raise ValueError(
            f"{config['model']} expects {wanted} among the training impressions of "
            f"'{dataset.dataset_name}', got none. Check NAME.report.json."
        )
    if len(rows) < len(dataset):
        getLogger().info(
            f"{len(dataset) - len(rows)} clicks are in impressions without an unclicked "
            "candidate and give no training sample."
        )
    if from_impression:
        return ImpressionPairDataLoader(config, rows)
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


class ImpressionPairDataLoader(TrainDataLoader):
    """Clicks, each with unclicked candidates of its impression by (seed, epoch, click)."""

    def __init__(self, config: Settings, dataset: InteractionDataset) -> None:
        super().__init__(config, dataset, None, shuffle=config["shuffle"])
        count, seed = self.neg_sample_num, int(config["seed"])
        self.negatives = ImpressionNegatives(dataset.impressions, count, seed)
        self.epoch = -1

    def __iter__(self) -> Iterator[Interaction]:
        self.epoch += 1
        return super().__iter__()

    def collate_fn(self, index: Sequence[int]) -> Interaction:
        """The clicks ``index``, repeated for each negative, as in RecBole's sampling."""
        clicks = np.asarray(index)
        batch = self.transform(self._dataset, self._dataset[clicks])
        rows = self._dataset.rows_of_impressions(clicks)
        drawn = self.negatives.draw(self.epoch, clicks, rows)  # [batch, count]
        news = self._dataset.impressions.candidates.values[drawn.T.reshape(-1)]
        return self.sampling_func(batch, id_tensor(news))


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
