"""RecBole's collector for impressions of any size, which are ranked once at the end."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from recbole.evaluator.collector import Collector, DataStruct
from torch import Tensor

from recbole_tinynews.data.fields import IMPRESSION, IMPRESSION_SIZE
from recbole_tinynews.data.impressions import ArticleFacts, Impressions
from recbole_tinynews.evaluation.beyond_accuracy import RankedArticles, rank_articles
from recbole_tinynews.evaluation.impression_metric import ARTICLES_KEY, RANKED_KEY, SCORED_KEY
from recbole_tinynews.evaluation.metrics import NaNScoreError, RankedImpressions, rank_impressions
from recbole_tinynews.evaluation.scored import ScoredImpressions, offsets_of
from recbole_tinynews.processes.group import gather_array
from recbole_tinynews.settings.protocol import Settings


class ImpressionCollector(Collector):
    """Collects flat scores and labels with the bounds of their impressions.

    ``ranked``, ``ids``, ``scores``, ``labels`` and ``offsets`` describe the last evaluation.
    RecBole's own collector is used if no metric needs impressions.
    """

    def __init__(self, config: Settings) -> None:
        super().__init__(config)
        self.impressions: Impressions  # the split, set by start()
        self.facts: ArticleFacts | None = None
        self._collected: Callable[[], object] | None = None
        self.clear()

    def start(
        self,
        impressions: Impressions,
        facts: ArticleFacts | None = None,
        collected: Callable[[], object] | None = None,
    ) -> None:
        """Begin an evaluation of a split; without ``facts``, article metrics have no result."""
        self.clear()
        self.impressions, self.facts, self._collected = impressions, facts, collected

    def clear(self) -> None:
        """Drop the collected batches and the last result."""
        self.ranked: RankedImpressions | None = None  # [impressions], as collected
        self.articles: RankedArticles | None = None  # the same, if a metric needs them
        self.rows = np.empty(0, np.int64)  # [impressions], as collected
        self.scores = np.empty(0, np.float32)  # [candidates in total], or float64
        self.labels = np.empty(0, np.int8)  # [candidates in total]
        self.offsets = np.zeros(1, np.int64)  # [impressions + 1], of the scores
        # scores, labels, sizes and rows of each batch
        self._batches: tuple[list[Tensor], ...] = ([], [], [], [])

    @property
    def ids(self) -> NDArray[np.str_]:
        """Ids of the impressions of ``ranked``, in its order."""
        return self.impressions.impression_id[self.rows]

    def eval_batch_collect(
        self,
        scores_tensor: Tensor,
        interaction: Any,
        positive_u: Tensor | None,
        positive_i: Tensor | None,
    ) -> None:
        """Keep a batch: scores and labels ``[candidates of the batch]``, on any device."""
        if self._collected is not None:
            self._collected()
        if not self.register.need(RANKED_KEY):
            super().eval_batch_collect(scores_tensor, interaction, positive_u, positive_i)
            return
        scores, labels = _kept(scores_tensor), _kept(interaction[self.config["LABEL_FIELD"]])
        sizes, rows = (_kept(interaction[f]) for f in (IMPRESSION_SIZE, IMPRESSION))
        fits = scores.ndim == 1 and labels.shape == scores.shape and sizes.shape == rows.shape
        if not fits or int(sizes.sum()) != len(scores):
            self.clear()
            raise ValueError(
                "ImpressionCollector expects a flat score and a label for each candidate, and "
                f"sizes that sum to them, got scores {list(scores.shape)}, labels "
                f"{list(labels.shape)}, {len(sizes)} sizes with sum {int(sizes.sum())} and "
                f"{len(rows)} impressions. Score all candidates of a batch, without padding."
            )
        # half precision is widened, which is exact: numpy has no bfloat16
        scores = scores if scores.dtype == torch.float64 else scores.float()
        for parts, part in zip(self._batches, (scores, labels, sizes, rows), strict=True):
            parts.append(part)

    def get_data_struct(self) -> DataStruct:
        """Concatenate and rank; the next evaluation starts empty, even after an error."""
        if not self.register.need(RANKED_KEY):
            return super().get_data_struct()
        kept = self._batches
        self.clear()
        own = [_together(parts).numpy() for parts in kept]
        ranked = self._rank(*own)
        # each process has ranked a slice of the impressions
        scores, labels, sizes, rows = map(gather_array, own)
        self.ranked = RankedImpressions(*map(gather_array, ranked))
        self.rows, self.scores, self.offsets = rows.astype(np.int64), scores, offsets_of(sizes)
        self.labels = labels.astype(np.int8)
        self.articles = self._rank_articles()
        struct = self.struct_of()
        struct._data_dict.update(self.data_struct._data_dict)  # from data_collect
        struct.set("rec.score", torch.from_numpy(scores))
        struct.set("data.label", torch.from_numpy(labels))
        return struct

    def struct_of(self, kept: NDArray[np.bool_] | None = None) -> DataStruct:
        """Data for metrics from the last evaluation; ``kept`` selects rows of the split."""
        assert self.ranked is not None, "an evaluation comes before its parts"

        def part(impressions: Any) -> Any:
            return impressions if kept is None else impressions.only(kept[self.rows])

        struct = DataStruct()
        struct.set(RANKED_KEY, part(self.ranked))
        if self.register.need(SCORED_KEY):  # avoids copies otherwise
            users = self.impressions.user[self.rows]
            scored = ScoredImpressions(self.scores, self.labels, self.offsets, users)
            struct.set(SCORED_KEY, part(scored))
        if self.articles is not None:
            struct.set(ARTICLES_KEY, part(self.articles))
        return struct

    def rescored(self, scores: NDArray, articles: RankedArticles) -> DataStruct:
        """Data for metrics as if the last evaluation had had these scores and articles."""
        other = copy.copy(self)
        other.scores, other.ranked = scores, rank_impressions(scores, self.labels, self.offsets)
        other.articles = self.articles and articles
        return other.struct_of()

    def _rank_articles(self) -> RankedArticles | None:
        if self.facts is None or not self.register.need(ARTICLES_KEY):
            return None
        candidates = self.impressions.candidates.take(self.rows)
        history = self.impressions.history.take(self.rows)
        return rank_articles(self.scores, candidates, history, self.facts)

    def _rank(
        self, scores: NDArray, labels: NDArray, sizes: NDArray, rows: NDArray
    ) -> RankedImpressions:
        unique, counts = np.unique(rows, return_counts=True)
        if len(unique) < len(rows):
            raise ValueError(
                "ImpressionCollector expects each impression once, got "
                f"{self._name(unique[counts.argmax()])} {counts.max()} times. Call start() before "
                "an evaluation, and drop the repeats that a distributed sampler adds."
            )
        try:
            return rank_impressions(scores, labels, offsets_of(sizes))
        except NaNScoreError as error:
            name = self._name(rows[error.impression])
            raise ValueError(f"The model scored {name} with NaN. {error}") from error

    def _name(self, row: int) -> str:
        name = self.impressions.impression_id[row]
        return f"impression {name} (row {row} of the evaluated split)"


def _together(parts: list[Tensor]) -> Tensor:
    """Concatenate and empty the list, so that the parts are not in memory twice."""
    together = torch.cat(parts) if parts else torch.empty(0)
    parts.clear()
    return together


def _kept(tensor: Tensor) -> Tensor:
    """A copy on the CPU: a model or a loader may reuse the buffer."""
    return tensor.detach().to("cpu", copy=True)
