"""Impressions as a RecBole data set of interactions, and its loaders, for RecBole's models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from recbole.data.dataloader import AbstractDataLoader, TrainDataLoader, UserDataLoader
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.data.transform import InverseItemSequence
from recbole.sampler import RepeatableSampler, Sampler
from recbole.utils import FeatureSource, FeatureType

from recbole_tinynews.data.dataloader import id_tensor
from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.data.fields import IMPRESSION, IMPRESSION_SIZE
from recbole_tinynews.data.impressions import UNLABELLED, ArticleFacts, Impressions
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.files.columns import CATEGORY, SUBCATEGORY
from recbole_tinynews.recbole_models.feeds import Feed, History, Rows
from recbole_tinynews.settings.protocol import Settings


class InteractionDataset(Dataset):
    """RecBole data set over the ragged impressions of one split.

    ``inter_feat`` holds only the clicks, from which models build matrices and graphs, and samplers
    take positives. ``dataset[index]`` builds rows on demand, never a table of all candidates, at
    ``places`` among them. ``facts`` are categories and training clicks of articles.
    """

    def __init__(self, news: NewsDataset, config: Any, feed: Feed) -> None:
        self.__dict__.update(news.__getstate__())  # without the other splits, for workers
        self.config, self.feed = config, feed
        self.impressions, self.facts = news.impressions(config), news.facts
        self.label_field = config["LABEL_FIELD"]
        self.sequence_field = self.iid_field + config["LIST_SUFFIX"]
        self.length_field = config["ITEM_LIST_LENGTH_FIELD"]
        self.negative_field = config["NEG_PREFIX"] + self.sequence_field
        self.width = config["MAX_ITEM_LIST_LENGTH"]
        sampled = config["train_neg_sample_args"]["distribution"] != "none"
        self._describe()
        labels = self.impressions.labels
        clicked = np.flatnonzero(labels == 1)
        self.places = clicked
        if feed.rows is Rows.LABELLED and not sampled:  # all candidates
            self.places = np.flatnonzero(labels != UNLABELLED)
        self.inter_feat = self._clicks(clicked)

    def _describe(self) -> None:
        """Declare only fields in use: context-aware models embed all declared ones."""
        token, inter = FeatureType.TOKEN, FeatureSource.INTERACTION
        self.field2type: dict = {}
        self.field2source: dict = {}
        self.field2seqlen: dict = {}
        for field, kind, source in (
            (self.uid_field, token, FeatureSource.USER_ID),
            (self.iid_field, token, FeatureSource.ITEM_ID),
            (self.time_field, FeatureType.FLOAT, inter),
            (self.label_field, FeatureType.FLOAT, inter),
            (CATEGORY, token, FeatureSource.ITEM),
            (SUBCATEGORY, token, FeatureSource.ITEM),
        ):
            self.set_field_property(field, kind, source, 1)
        if self.feed.sequence is not History.NONE:
            self.set_field_property(self.sequence_field, FeatureType.TOKEN_SEQ, inter, self.width)
            self.set_field_property(self.length_field, token, inter, 1)

    def _clicks(self, places: NDArray[np.int64]) -> Interaction:
        impressions = self.impressions
        rows = impressions.candidates.rows_of(places)
        return Interaction(
            {
                self.uid_field: id_tensor(impressions.user[rows]),
                self.iid_field: id_tensor(impressions.candidates.values[places]),
                self.time_field: id_tensor(impressions.timestamp[rows]),
                self.label_field: torch.ones(len(places)),
            }
        )

    def __len__(self) -> int:
        return len(self.places)

    @property
    def inter_num(self) -> int:
        """Number of clicks."""
        return len(self.inter_feat)

    def __getitem__(self, index: Any, join: bool = True) -> Interaction:
        return self.rows(self.places[np.asarray(index)], training=True)

    def rows(self, places: NDArray[np.int64], training: bool = False) -> Interaction:
        """Rows for the candidates at ``places``, with the fields that the model reads, ``[rows]``.

        ``item_id_list`` is ``[rows, MAX_ITEM_LIST_LENGTH]``, zero-padded **at the end**;
        ``item_length`` at least 1: RecBole's models fail on empty histories.
        """
        impressions = self.impressions
        rows = impressions.candidates.rows_of(places)
        items = impressions.candidates.values[places]
        batch = Interaction(
            {
                self.uid_field: id_tensor(impressions.user[rows]),
                self.iid_field: id_tensor(items),
                self.label_field: torch.from_numpy(impressions.labels[places].astype(np.float32)),
            }
        )
        if self.feed.sequence is not History.NONE:
            history = others(impressions.history.take(rows), items)
            with_click = training and self.feed.sequence is History.HISTORY_AND_CLICK
            padded, lengths = padded_at_end(history, self.width, items if with_click else None)
            batch[self.sequence_field] = id_tensor(padded)
            batch[self.length_field] = id_tensor(np.maximum(lengths, 1))
        if self.feed.negative_sequence:
            sequence = batch[self.sequence_field]
            drawn = torch.randint(1, self.item_num, sequence.shape)
            batch[self.negative_field] = drawn.masked_fill(sequence == 0, 0)
        return self.join(batch)

    def join(self, df: Interaction) -> Interaction:
        """Add the items' category and subcategory, without the Python lists of RecBole's method."""
        assert self.item_feat is not None, "a NewsDataset has one"
        items = df[self.iid_field]
        for field in self.item_feat.columns:
            df[field] = self.item_feat[field][items]
        return df


def others(history: Ragged, items: NDArray) -> Ragged:
    """Histories without the item of their row.

    A clicked item in the history leaks the click, and so does removing clicked items only: items
    are removed in all rows. A negative drawn later shares the click's history, and may be in it.

    >>> others(Ragged.from_rows([[1, 2, 1], [2]], int), np.array([1, 1])).lengths.tolist()
    [1, 1]
    """
    row = np.repeat(np.arange(history.rows), history.lengths)
    kept = history.values != items[row]
    return Ragged.from_lengths(history.values[kept], np.bincount(row[kept], minlength=history.rows))


def padded_at_end(
    history: Ragged, width: int, last: NDArray | None = None
) -> tuple[NDArray, NDArray[np.int64]]:
    """The newest ``width`` items of each row, ``[rows, width]``, and their number.

    ``last`` is one more, newest item per row.

    >>> padded_at_end(Ragged.from_rows([[1, 2, 3], []], int), 2)[0].tolist()
    [[2, 3], [0, 0]]
    """
    newest = history.last(width if last is None else width - 1)
    lengths = newest.lengths
    padded = np.zeros((history.rows, width), dtype=np.int64)
    padded[np.arange(width) < lengths[:, None]] = newest.values
    if last is not None:
        padded[np.arange(history.rows), lengths] = last
        lengths = lengths + 1
    return padded, lengths


def train_loader(config: Settings, dataset: InteractionDataset) -> AbstractDataLoader:
    """Training loader for the model's rows, with negatives as configured."""
    if len(dataset) == 0:
        raise ValueError(
            f"{config['model']} expects clicks among the training impressions of "
            f"'{dataset.dataset_name}', got none. Check NAME.report.json."
        )
    if dataset.feed.rows is Rows.USERS:
        return UserDataLoader(config, dataset, None, shuffle=True)
    arguments, sampler = config["train_neg_sample_args"], None
    how = arguments["distribution"], arguments["alpha"]
    if how[0] != "none" and config["repeatable"]:
        sampler = RepeatableSampler(["train"], dataset, *how).set_phase("train")
    elif how[0] != "none":
        sampler = Sampler(["train"], [dataset], *how).set_phase("train")
    return TrainDataLoader(config, dataset, sampler, shuffle=config["shuffle"])


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
