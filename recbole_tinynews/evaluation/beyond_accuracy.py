"""Metrics of the first k articles, clicked or not, one value per impression, NaN if undefined."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recbole_tinynews.data.impressions import ArticleFacts
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.evaluation.metrics import candidate_ranks, check_cut_off

ALPHA = 0.01  # of Steck's smoothing
_BLOCK = 16_384  # impressions with vectors at a time, to bound memory


class RankedArticles(NamedTuple):
    """Candidates of impressions, ordered by score.

    Shapes:
        ranked: ragged ``[impressions, *]``, news ids, best first, ties as in every other metric.
        history: ragged ``[impressions, *]``, news ids of all earlier clicks, also beyond
            ``history_length``.
    """

    ranked: Ragged
    history: Ragged
    facts: ArticleFacts

    def first(self, k: int) -> Ragged:
        """The first k candidates, ``[impressions, up to k]``."""
        check_cut_off(k)
        return self.ranked.first(k)

    def only(self, kept: NDArray[np.bool_]) -> RankedArticles:
        """Impressions where ``kept`` (``[impressions]``) holds."""
        rows = np.flatnonzero(kept)
        return self._replace(ranked=self.ranked.take(rows), history=self.history.take(rows))

    def category_counts(self, articles: Ragged) -> csr_matrix:
        """Articles of each known category in each row, ``[rows, categories]``."""
        category = self.facts.category[articles.values]
        row = np.repeat(np.arange(articles.rows), articles.lengths)
        known = category > 0
        shape = articles.rows, int(self.facts.category.max(initial=0)) + 1
        ones = np.ones(np.count_nonzero(known))
        return csr_matrix((ones, (row[known], category[known])), shape=shape)


def rank_articles(
    scores: NDArray[np.floating], candidates: Ragged, history: Ragged, facts: ArticleFacts
) -> RankedArticles:
    """Order ragged ``candidates [impressions, *]`` by ``scores [candidates in total]``."""
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


def diversity(articles: RankedArticles, k: int) -> NDArray[np.float64]:
    """Share of pairs of different categories among the first k (Smyth and McClave 2001), or NaN."""
    counts = articles.category_counts(articles.first(k))
    known = _sums(counts)
    pairs = known * (known - 1)
    return _quotient(pairs - (_sums(counts.power(2)) - known), pairs)


def coverage(articles: RankedArticles, k: int) -> NDArray[np.float64]:
    """Share of the candidates' known categories that are among the first k; NaN without any."""
    covered = articles.category_counts(articles.first(k)).getnnz(axis=1)
    return _quotient(covered, articles.category_counts(articles.ranked).getnnz(axis=1))


def calibration(articles: RankedArticles, k: int) -> NDArray[np.float64]:
    """KL divergence of the first k's categories from the history's, in nats; smaller is better.

    Steck (2018): KL(p || q~) of category shares p of the whole history and q of the first k, with
    q~ = (1 - alpha) q + alpha p, alpha = 0.01. NaN where either has no known category.
    """
    history, first = map(articles.category_counts, (articles.history, articles.first(k)))
    p, q = _shares(history), _shares(first)
    # restricted to p > 0, where q~ > 0 too: both have the same sparsity pattern
    smoothed = csr_matrix((ALPHA * p + (1 - ALPHA) * q).multiply(p > 0))
    for each in (p, smoothed):
        each.sort_indices()
    p.data *= np.log(p.data / smoothed.data)
    defined = (_sums(history) > 0) & (_sums(first) > 0)
    return np.where(defined, _sums(p).clip(min=0), np.nan)  # below 0 only by rounding


def distance(articles: RankedArticles, k: int, vectors: NDArray) -> NDArray[np.float64]:
    """Mean 1 - cosine of the pairs among the first k (Zhang and Hurley 2008); NaN without a pair.

    ``vectors`` by news id, ``[news, dim]``, have length 1, or 0 if unknown. The cosines of all
    pairs sum to s . s - sum of v . v, with the sum s of the vectors v.
    """
    first = articles.first(k)
    ones = np.ones(len(first.values), vectors.dtype)
    rows = csr_matrix((ones, first.values, first.offsets), shape=(first.rows, len(vectors)))
    lengths = np.concatenate(
        [((rows[b : b + _BLOCK] @ vectors) ** 2).sum(1) for b in range(0, first.rows, _BLOCK)]
    )
    pairs = first.lengths * (first.lengths - 1)
    cosines = (lengths - rows @ (vectors**2).sum(1)) * (pairs > 0)
    return 1 - _quotient(cosines, pairs)


def catalogue_coverage(articles: RankedArticles, k: int, candidates: Ragged) -> float:
    """Share of all articles in ``candidates`` that are in any first k (Ge et al. 2010)."""
    return len(np.unique(articles.first(k).values)) / max(1, len(np.unique(candidates.values)))


def novelty(articles: RankedArticles, k: int) -> NDArray[np.float64]:
    """Mean self-information of the first k in bits (Zhou et al. 2010); NaN without a candidate.

    Laplace smoothing, for news without clicks: -log2((clicks + 1) / (all clicks + articles)).
    """
    clicks = articles.facts.clicks
    bits = np.log2(clicks.sum() + articles.facts.articles) - np.log2(clicks + 1)
    return _means(articles.first(k), bits)


def cold_share(articles: RankedArticles, k: int) -> NDArray[np.float64]:
    """Share of the first k that were never clicked in training; NaN without a candidate."""
    return _means(articles.first(k), articles.facts.clicks == 0)


def _means(articles: Ragged, values: NDArray) -> NDArray[np.float64]:
    """Row means of values by news id, ``[rows]``."""
    row = np.repeat(np.arange(articles.rows), articles.lengths)
    totals = np.bincount(row, values[articles.values], minlength=articles.rows)
    return _quotient(totals, articles.lengths)


def _shares(counts: csr_matrix) -> csr_matrix:
    """Counts over their row's sum; an empty row stays empty."""
    return csr_matrix(counts.multiply(1 / np.maximum(_sums(counts), 1)[:, None]))


def _sums(counts: csr_matrix) -> NDArray[np.float64]:
    return np.asarray(counts.sum(axis=1), np.float64).ravel()


def _quotient(above: NDArray, below: NDArray) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):
        return above / below
