"""Re-ranks evaluated impressions, and evaluates them after each re-ranker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from recbole.evaluator import Evaluator

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.evaluation import beyond_accuracy
from recbole_tinynews.evaluation.beyond_accuracy import RankedArticles, rank_articles
from recbole_tinynews.evaluation.collector import ImpressionCollector
from recbole_tinynews.evaluation.impression_metric import is_count, mean_of_known
from recbole_tinynews.evaluation.metrics import candidate_ranks
from recbole_tinynews.rerank import VECTORS, Candidates, ReRanking

IDS = "ids"
Articles = Mapping[str, NDArray[Any]]
"""By news id: ids, groups by column and, if known, unit vectors ``[news, dim]``."""


def rerank_impressions(
    rerankers: ReRanking,
    scores: NDArray[np.floating],
    candidates: Ragged,
    plain: RankedArticles,
    articles: Articles,
) -> list[tuple[NDArray[np.float64], RankedArticles]]:
    """For each re-ranker, scores that reproduce its ranking, and the articles that it leaves.

    Removed candidates rank last, in their old order. Shapes: scores ``[candidates in total]``;
    candidates, ranked in ``plain``, ragged ``[impressions, *]``.
    """
    ranks = candidate_ranks(scores, candidates.offsets)
    ranking = np.empty((len(rerankers), len(scores)))
    ranked = np.empty(ranking.shape, candidates.values.dtype)
    left = np.zeros((len(rerankers), candidates.rows), np.int64)
    for row, (start, stop) in enumerate(pairwise(candidates.offsets.tolist())):
        shown, clicked = candidates.values[start:stop], plain.history.row(row)
        unranked = Candidates(
            articles[IDS][shown].tolist(),
            scores[start:stop],
            set(articles[IDS][clicked].tolist()),
            {name: articles[name][shown] for name in rerankers.needs},
        )
        before = np.argsort(ranks[start:stop]).tolist()
        for number, order in enumerate(rerankers.orders(before, unranked)):
            kept = set(order)
            whole = np.array(order + [place for place in before if place not in kept], np.intp)
            ranking[number, start + whole] = -np.arange(stop - start)
            ranked[number, start:stop], left[number, row] = shown[whole], len(order)
    return [
        (own, plain._replace(ranked=Ragged(news, candidates.offsets).first(lengths)))
        for own, news, lengths in zip(ranking, ranked, left, strict=True)
    ]


def reranked_results(
    rerank: Sequence[Any], collector: ImpressionCollector, evaluator: Evaluator, articles: Articles
) -> list[dict[str, Any]]:
    """Results of the last evaluation: plain, then after each value of the setting ``rerank``.

    ``distance@k`` (with vectors), ``calibration@k`` and ``catalogue@k`` for each k of ``topk``
    follow the run's metrics.
    """
    assert collector.facts is not None
    scores, shown = collector.scores, collector.impressions
    candidates, history = (e.take(collector.rows) for e in (shown.candidates, shown.history))
    plain = rank_articles(scores, candidates, history, collector.facts)
    found = rerank_impressions(ReRanking.parse(rerank), scores, candidates, plain, articles)
    rows: list[tuple[NDArray, RankedArticles]] = [(scores, plain), *found]
    results = []
    for name, (own, ranked) in zip(["plain", *rerank], rows, strict=True):
        averages = evaluator.evaluate(collector.rescored(own, ranked))
        result = {key: value for key, value in averages.items() if not is_count(key)}
        for k in evaluator.config["topk"]:
            if VECTORS in articles:
                far = beyond_accuracy.distance(ranked, k, articles[VECTORS])
                result[f"distance@{k}"] = mean_of_known(far)
            result[f"calibration@{k}"] = mean_of_known(beyond_accuracy.calibration(ranked, k))
            result[f"catalogue@{k}"] = beyond_accuracy.catalogue_coverage(ranked, k, candidates)
        results.append({"rerank": name, **result})
    return results
