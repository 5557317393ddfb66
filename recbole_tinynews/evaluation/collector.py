"""RecBole's collector for impressions of any size, ranked once at the end; slices of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from recbole.evaluator import Evaluator
from recbole.evaluator.collector import Collector, DataStruct
from torch import Tensor

from recbole_tinynews.data.fields import IMPRESSION, IMPRESSION_SIZE
from recbole_tinynews.data.impressions import ArticleFacts, Impressions
from recbole_tinynews.evaluation import beyond_accuracy
from recbole_tinynews.evaluation.beyond_accuracy import rank_articles
from recbole_tinynews.evaluation.metrics import (
    NaNScoreError,
    ScoredImpressions,
    is_count,
    offsets_of,
)
from recbole_tinynews.evaluation.recbole_metrics import ARTICLES, EVALUATED, mean_of_known
from recbole_tinynews.evaluation.rerank import VECTORS, Articles, ReRanking, rerank_impressions
from recbole_tinynews.processes.group import gather_array
from recbole_tinynews.settings.protocol import Settings


class ImpressionCollector(Collector):
    """Collects flat scores and labels with the bounds of their impressions.

    ``evaluated`` are the impressions of the last evaluation, of all processes, and ``rows`` their
    places in the split.
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
        self.evaluated: ScoredImpressions | None = None
        self.rows = np.empty(0, np.int64)  # [impressions], as collected
        # scores, labels, sizes and rows of each batch
        self._batches: tuple[list[Tensor], ...] = ([], [], [], [])

    @property
    def ids(self) -> NDArray[np.str_]:
        """Ids of the evaluated impressions, in their order."""
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
        batches = self._batches
        self.clear()
        # each process has scored a slice of the impressions
        scores, labels, sizes, rows = (gather_array(_together(parts).numpy()) for parts in batches)
        self.evaluated = self._evaluate(scores, labels.astype(np.int8), offsets_of(sizes), rows)
        self.rows = rows.astype(np.int64)
        struct = struct_of(self.evaluated)
        struct._data_dict.update(self.data_struct._data_dict)  # from data_collect
        struct.set("rec.score", torch.from_numpy(scores))
        struct.set("data.label", torch.from_numpy(labels))
        return struct

    def _evaluate(
        self, scores: NDArray, labels: NDArray, offsets: NDArray, rows: NDArray
    ) -> ScoredImpressions:
        unique, counts = np.unique(rows, return_counts=True)
        if len(unique) < len(rows):
            raise ValueError(
                "ImpressionCollector expects each impression once, got "
                f"{self._name(unique[counts.argmax()])} {counts.max()} times. Call start() before "
                "an evaluation, and drop the repeats that a distributed sampler adds."
            )
        articles, split = None, self.impressions
        try:
            if self.facts is not None and self.register.need(ARTICLES):
                candidates, history = split.candidates.take(rows), split.history.take(rows)
                articles = rank_articles(scores, candidates, history, self.facts)
            users = split.user[rows] if len(rows) else rows
            evaluated = ScoredImpressions(scores, labels, offsets, users, articles)
            _ = evaluated.ranked  # here, where its error can name the impression
        except NaNScoreError as error:
            name = self._name(rows[error.impression])
            raise ValueError(f"The model scored {name} with NaN. {error}") from error
        return evaluated

    def _name(self, row: int) -> str:
        name = self.impressions.impression_id[row]
        return f"impression {name} (row {row} of the evaluated split)"


def struct_of(evaluated: ScoredImpressions) -> DataStruct:
    """The data of RecBole's evaluator."""
    struct = DataStruct()
    struct.set(EVALUATED, evaluated)
    return struct


def _together(parts: list[Tensor]) -> Tensor:
    """Concatenate and empty the list, so that the parts are not in memory twice."""
    together = torch.cat(parts) if parts else torch.empty(0)
    parts.clear()
    return together


def _kept(tensor: Tensor) -> Tensor:
    """A copy on the CPU: a model or a loader may reuse the buffer."""
    return tensor.detach().to("cpu", copy=True)


def cold_impressions(
    candidates: NDArray[np.integer],
    labels: NDArray[np.integer],
    offsets: NDArray[np.int64],
    clicked_before: Iterable[int],
) -> NDArray[np.bool_]:
    """Impressions with clicks, none on an article clicked in training, ``[impressions]``.

    >>> news, labels = np.array([1, 2, 3, 2, 3]), np.array([0, 1, 1, 0, 1])
    >>> cold_impressions(news, labels, np.array([0, 3, 5]), clicked_before=[2])
    array([False,  True])
    """
    clicked = labels == 1
    known = clicked & np.isin(candidates, np.fromiter(clicked_before, np.int64))
    clicks, known_clicks = (
        np.diff(np.searchsorted(np.flatnonzero(each), offsets)) for each in (clicked, known)
    )
    return (clicks > 0) & (known_clicks == 0)


def reranked_results(
    rerank: Sequence[Any], collector: ImpressionCollector, evaluator: Evaluator, articles: Articles
) -> list[dict[str, Any]]:
    """Results of the last evaluation: plain, then after each value of the setting ``rerank``.

    ``distance@k`` (with vectors), ``calibration@k`` and ``catalogue@k`` for each k of ``topk``
    follow the run's metrics.
    """
    shown, rows, evaluated = collector.impressions, collector.rows, collector.evaluated
    assert collector.facts is not None
    assert evaluated is not None
    candidates, scores = shown.candidates.take(rows), evaluated.scores
    plain = rank_articles(scores, candidates, shown.history.take(rows), collector.facts)
    width = evaluator.config["history_length"]
    recent = shown.recent and shown.recent.newest(rows, width)
    arguments = ReRanking.parse(rerank), scores, candidates, plain, articles, recent
    reranked = rerank_impressions(*arguments)
    results = []
    for name, (ranking, ranked) in zip(
        ["plain", *rerank], [(scores, plain), *reranked], strict=True
    ):
        again = replace(evaluated, scores=ranking, articles=evaluated.articles and ranked)
        averages = evaluator.evaluate(struct_of(again))
        result = {key: value for key, value in averages.items() if not is_count(key)}
        for k in evaluator.config["topk"]:
            if VECTORS in articles:
                far = beyond_accuracy.distance(ranked, k, articles[VECTORS])
                result[f"distance@{k}"] = mean_of_known(far)
            result[f"calibration@{k}"] = mean_of_known(beyond_accuracy.calibration(ranked, k))
            result[f"catalogue@{k}"] = beyond_accuracy.catalogue_coverage(ranked, k, candidates)
        results.append({"rerank": name, **result})
    return results
