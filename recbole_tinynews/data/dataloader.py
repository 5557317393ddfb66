"""Batches and their loaders: clicks for training, whole impressions for evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from logging import getLogger
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from recbole.data.dataloader import AbstractDataLoader
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_tinynews.data.fields import (
    CANDIDATE_FEATURES,
    CANDIDATES,
    CONTEXT_ARTICLE,
    HISTORY,
    IMPRESSION,
    IMPRESSION_SIZE,
)
from recbole_tinynews.data.impressions import clicks_of
from recbole_tinynews.data.negatives import ImpressionNegatives, random_bits
from recbole_tinynews.processes.group import ALONE, Group, shard_slice
from recbole_tinynews.settings.protocol import Settings


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


ORDER_DRAW = -1  # negatives use draws from 0


class TrainDataLoader(AbstractDataLoader):
    """Batches of training samples; order and negatives depend only on (seed, epoch).

    Call ``set_epoch`` before iterating. A subclass defines ``collate_samples``. Of the processes in
    ``group``, each loads its share.
    ``together``, ``[samples]``, has equal numbers for neighbours that share a batch.
    """

    group: Group = ALONE

    def __init__(
        self,
        config: Settings,
        dataset: Any,
        samples: int,
        together: NDArray[np.int64] | None = None,
    ) -> None:
        self.sample_size, self.together = samples, together
        self.seed = int(config["seed"])
        self.shuffled = bool(config["shuffle"])
        super().__init__(config, dataset, None, shuffle=False)  # shuffled in set_epoch
        self.set_epoch(0)

    def _init_batch_size_and_step(self) -> None:
        self.step = self.config["train_batch_size"]
        self.set_batch_size(self.step)

    def set_epoch(self, epoch: int, trained_batches: int = 0) -> None:
        """Choose order and negatives of ``epoch``, and skip batches trained on before a resume.

        Batch ``n``, from 0, has the samples ``order[bounds[n] : bounds[n + 1]]``.
        """
        self.epoch, self.trained_batches = epoch, trained_batches
        self.order, groups = np.arange(self.sample_size), self.together
        if self.shuffled:
            drawn = self.order if groups is None else groups
            keys = random_bits(self.seed, epoch, drawn, np.array(ORDER_DRAW))
            self.order = np.argsort(keys, kind="stable")
        ordered = None if groups is None else groups[self.order]
        self.bounds = batch_bounds(self.sample_size, self.step, ordered)

    def __iter__(self) -> Iterator[Interaction]:
        batches = super().__iter__()
        return (batch for batch in batches if batch is not None)

    def collate_fn(self, index: Sequence[int]) -> Interaction | None:
        """The batch at positions ``index`` of the epoch's order; None if skipped."""
        if index[0] // self.step < self.trained_batches:
            return None
        places = np.asarray(index)
        if self.together is not None:  # RecBole cuts an epoch into equal parts
            places = np.arange(*self.bounds[index[0] // self.step :][:2])
        samples = self.order[places]
        if not self.group.alone:
            return self.collate_part(samples)
        batch = self.collate_samples(samples)
        return NewsBatch(batch.interaction, BatchArticles.of(batch))

    def collate_part(self, samples: NDArray[np.int64]) -> NewsBatch:
        """This process's shard (if empty, a sample of weight 0), with all articles of the batch."""
        batch = self.collate_samples(samples)
        rows = shard_slice(len(samples), self.group)
        own = rows if rows.start < rows.stop else slice(0, 1)
        articles = np.concatenate([batch[HISTORY].numpy(), batch[CANDIDATES].numpy()], axis=1) != 0
        shares = {
            "samples": (rows.stop - rows.start) / len(samples),
            "articles": float(articles[rows].sum() / articles.sum()),
        }
        fields = {name: values[own] for name, values in batch.interaction.items()}
        return NewsBatch(fields, BatchArticles.of(batch), shares)

    def news_ids(self) -> NDArray[np.int64]:
        """Ids of texts read repeatedly, which teachers may encode in advance."""
        return np.empty(0, dtype=np.int64)

    def collate_samples(self, samples: NDArray[np.int64]) -> Interaction:
        """The batch of these samples."""
        raise NotImplementedError


def batch_bounds(
    samples: int, size: int, groups: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Bounds of batches of ``size`` samples, ``[batches + 1]``; neighbours of one group share one.

    A group is in the batch in whose part of the samples it ends: there are as many batches as
    without groups, each with less than ``size`` samples more or fewer. Larger groups are cut.

    >>> batch_bounds(7, 3), batch_bounds(7, 3, np.array([5, 5, 2, 2, 2, 8, 9]))
    (array([0, 3, 6, 7]), array([0, 2, 6, 7]))
    """
    bounds = np.minimum(np.arange(0, samples + size, size), samples)
    if groups is None:
        return bounds
    first = np.flatnonzero(np.diff(groups, prepend=-1))
    place = np.arange(samples) - np.repeat(first, np.diff(first, append=samples))
    starts = np.append(np.flatnonzero(place % size == 0), samples)  # of what is never cut
    return starts[np.searchsorted(starts, bounds, side="right") - 1]


class ClickDataLoader(TrainDataLoader):
    """One sample is one click: its impression's history, the clicked article and its negatives.

    Fields of a batch: ``user_id``, ``timestamp`` ``[batch]``; ``history`` ``[batch,
    history_length]``, newest clicks, padded in front with 0; ``candidates`` ``[batch, 1 +
    negatives]``, the clicked one **first**, so ``label`` ``[batch]`` is 0; if any,
    ``candidate_features`` ``[*candidates, features + moments]``. With ``group_clicks`` the clicks
    of an impression stand in one batch (``batch_bounds``), where its history is encoded once; the
    order is drawn over impressions, negatives for each click.

    ``dataset`` has ``impressions(config)``, and ``history_width`` where that is not the setting.
    """

    def __init__(self, config: Settings, dataset: Any) -> None:
        self.impressions = dataset.impressions(config)
        self.since = config["train_since"] or 0
        self.clicks = clicks_of(self.impressions, self.since)
        if len(self.clicks.position) == 0:
            new = f" since UTC second {self.since:.0f}" if self.since else ""
            raise ValueError(
                f"ClickDataLoader expects training impressions of '{config['dataset']}' with "
                f"clicked and unclicked candidates, got none{new}. Check NAME.report.json."
            )
        if self.clicks.without_negatives:
            getLogger().info(
                f"{self.clicks.without_negatives} clicks are in impressions without an unclicked "
                "candidate and give no training samples."
            )
        self.negatives = ImpressionNegatives(
            self.impressions, config["negatives"], int(config["seed"])
        )
        self.history_width = dataset.history_width or config["history_length"]
        together = self.clicks.impression if config["group_clicks"] else None
        super().__init__(config, dataset, len(self.clicks.position), together)

    def news_ids(self) -> NDArray[np.int64]:
        """Ids of all articles that batches may contain."""
        if not self.since:
            return self.impressions.news_ids(self.history_width)
        rows = np.unique(self.clicks.impression)
        clicked = self.impressions.history.newest(rows, self.history_width)
        seen = np.union1d(clicked, self.impressions.candidates.take(rows).values)
        if self.impressions.recent is not None:
            seen = np.union1d(seen, self.impressions.recent.newest(rows, self.history_width))
        return seen[seen != 0].astype(np.int64)

    def collate_samples(self, samples: NDArray[np.int64]) -> Interaction:
        """The batch of these clicks."""
        rows = self.clicks.impression[samples]
        negatives = self.negatives.draw(self.epoch, samples, rows)
        positions = np.column_stack([self.clicks.position[samples], negatives])
        return Interaction(
            {
                **_fields(self, positions, rows),
                self.config["LABEL_FIELD"]: torch.zeros(len(samples), dtype=torch.long),
            }
        )


class ImpressionDataLoader(AbstractDataLoader):
    """One sample is one impression with all its candidates, even without history.

    Ragged parts are concatenated, so a batch is never indexed by row: ``candidates`` and ``label``
    (-1 if unknown) are ``[sum of impression_size]``; ``impression``, the row in the split, and
    ``impression_size`` ``[batch]``; others as in ``ClickDataLoader``. Each process of ``group``
    loads a slice of the batches.
    """

    group: Group = ALONE

    def __init__(self, config: Settings, dataset: Any) -> None:
        self.impressions, self.facts = dataset.impressions(config), dataset.facts
        self.sample_size = self.impressions.rows
        self.history_width = dataset.history_width or config["history_length"]
        super().__init__(config, dataset, None, shuffle=False)

    def _init_batch_size_and_step(self) -> None:
        self.step = self.config["eval_batch_size"]
        self.set_batch_size(self.step)

    def news_ids(self) -> NDArray[np.int64]:
        """Ids of all articles that batches may contain."""
        return self.impressions.news_ids(self.history_width)

    def __len__(self) -> int:
        own = self._own_batches()
        return own.stop - own.start

    def __bool__(self) -> bool:  # RecBole skips evaluation with a false loader
        return super().__len__() > 0

    def _own_batches(self) -> slice:
        return shard_slice(super().__len__(), self.group)

    def __iter__(self) -> Iterator[tuple[Interaction, None, None, None]]:
        batches = super().__iter__()
        return (batch for batch in batches if batch is not None)

    def collate_fn(self, index: Sequence[int]) -> tuple[Interaction, None, None, None] | None:
        """The batch in RecBole's evaluation format; None for a batch of another process."""
        if not self.group.alone:
            own = self._own_batches()
            if not own.start <= index[0] // self.step < own.stop:
                return None
        return self.collate_impressions(np.asarray(index)), None, None, None

    def collate_impressions(self, rows: NDArray[np.int64]) -> Interaction:
        """The batch of the impressions in these rows of the split."""
        impressions = self.impressions
        positions = impressions.candidates.positions(rows)
        labels = impressions.labels[positions].astype(np.float32)
        return Interaction(
            {
                **_fields(self, positions, rows),
                IMPRESSION: id_tensor(rows),
                IMPRESSION_SIZE: id_tensor(impressions.candidates.lengths_of(rows)),
                self.config["LABEL_FIELD"]: torch.from_numpy(labels),
            }
        )


def _fields(
    loader: ClickDataLoader | ImpressionDataLoader,
    positions: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> dict[str, Tensor]:
    """Fields that both loaders have; ``positions`` of candidates are all, or ``[rows, some]``."""
    config, impressions, width = loader.config, loader.impressions, loader.history_width
    fields = {
        config["USER_ID_FIELD"]: id_tensor(impressions.user[rows]),
        config["TIME_FIELD"]: id_tensor(impressions.timestamp[rows]),
        HISTORY: id_tensor(impressions.clicked(rows, width)),
        CANDIDATES: id_tensor(impressions.candidates.values[positions]),
    }
    if impressions.reads_page:
        fields[CONTEXT_ARTICLE] = id_tensor(impressions.columns[CONTEXT_ARTICLE][rows])
    if (features := impressions.features) is not None:
        values = np.ascontiguousarray(features.values[positions], dtype=np.float32)
        if features.moments is not None:
            moments = features.moments[rows]
            if positions.ndim == 1:
                moments = np.repeat(moments, impressions.candidates.lengths_of(rows), axis=0)
            else:
                moments = np.repeat(moments[:, None], positions.shape[1], axis=1)
            values = np.concatenate([values, moments], axis=-1)
        fields[CANDIDATE_FEATURES] = torch.from_numpy(values)
    return fields


def id_tensor(array: NDArray) -> Tensor:
    """Ids as a contiguous int64 tensor."""
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.int64))
