"""Which articles were ranked where, for whom, whether anybody clicked on them or not."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recbole_tinynews.data.article_facts import ArticleFacts
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.evaluation.metrics import candidate_ranks


class RankedArticles(NamedTuple):
    """The candidates of impressions in the order of their scores, and what is known of them.

    Shapes:
        ranked: ragged ``[impressions, *]``, news ids of all candidates, best first; ties are in
            the order of every other metric.
        history: ragged ``[impressions, *]``, news ids of all earlier clicks, also of those beyond
            ``history_length``.
        facts: of every news id.
    """

    ranked: Ragged
    history: Ragged
    facts: ArticleFacts

    def first(self, k: int) -> Ragged:
        """The first k candidates, ``[impressions, up to k]``."""
        if k < 1:
            raise ValueError(f"A metric at k expects a cut-off k of at least 1, got {k}. Set topk.")
        return self.ranked.first(k)

    def only(self, kept: NDArray[np.bool_]) -> RankedArticles:
        """The impressions where ``kept`` (``[impressions]``) holds."""
        rows = np.flatnonzero(kept)
        return self._replace(ranked=self.ranked.take(rows), history=self.history.take(rows))

    def category_counts(self, articles: Ragged) -> csr_matrix:
        """How many of the articles of each row have each category, ``[rows, categories]``.

        Those of an unknown category are not counted.
        """
        category = self.facts.category[articles.values]
        row = np.repeat(np.arange(articles.rows), articles.lengths)
        known = category > 0
        shape = articles.rows, int(self.facts.category.max(initial=0)) + 1
        ones = np.ones(np.count_nonzero(known))
        return csr_matrix((ones, (row[known], category[known])), shape=shape)


def rank_articles(
    scores: NDArray[np.floating], candidates: Ragged, history: Ragged, facts: ArticleFacts
) -> RankedArticles:
    """Order the candidates of each impression by their scores.

    Shapes:
        scores: ``[candidates in total]``.
        candidates, history: ragged ``[impressions, *]``, news ids.

    Raises:
        ValueError: scores and candidates, or candidates and histories, don't fit together.
    """
    if len(scores) != len(candidates.values) or candidates.rows != history.rows:
        raise ValueError(
            f"rank_articles expects a score for each of {len(candidates.values)} candidates and a "
            f"history for each of {candidates.rows} impressions, got {len(scores)} scores and "
            f"{history.rows} histories. Pass those of the same impressions."
        )
    ranks = candidate_ranks(scores, candidates.offsets)
    ranked = np.empty_like(candidates.values)
    ranked[np.repeat(candidates.offsets[:-1], candidates.lengths) + ranks - 1] = candidates.values
    return RankedArticles(candidates._replace(values=ranked), history, facts)
