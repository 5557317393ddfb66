"""Metrics of what is shown among the first k, whoever clicked: a value for each impression.

They need no labels, so impressions that the metrics of clicks skip count too. A value is NaN where
it is not defined, which each function says. Articles of an unknown category are left out of the
metrics of categories, as if they had not been shown.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.evaluation.ranked_articles import RankedArticles

ALPHA = 0.01  # of Steck's smoothing


def diversity(shown: RankedArticles, k: int) -> NDArray[np.float64]:
    """Share of the pairs among the first k whose categories differ.

    Intra-list diversity (Smyth and McClave 2001) with the distance 1 between articles of different
    categories, else 0. NaN where fewer than two of the first k have a known category.
    """
    counts = shown.category_counts(shown.first(k))
    known = _sums(counts)
    pairs = known * (known - 1)
    return _quotient(pairs - (_sums(counts.power(2)) - known), pairs)


def coverage(shown: RankedArticles, k: int) -> NDArray[np.float64]:
    """Share of the categories among an impression's candidates that are among its first k.

    NaN where no candidate has a known category.
    """
    there = shown.category_counts(shown.first(k)).getnnz(axis=1)
    return _quotient(there, shown.category_counts(shown.ranked).getnnz(axis=1))


def calibration(shown: RankedArticles, k: int) -> NDArray[np.float64]:
    """How far the categories of the first k are from those of the history; 0 is calibrated.

    Steck (2018): the Kullback-Leibler divergence **of the first k from the
    history**, KL(p || q~) = sum of p log(p / q~) over categories, in nats. p are the shares of the
    categories in the whole history, q those among the first k, all clicks and all ranks weighing
    the same; q~ = (1 - alpha) q + alpha p with alpha = 0.01, so that a category that the first k
    lack costs much and not everything: the value is at most log(1 / alpha) = 4.61. Smaller is
    better. NaN where the history, or the first k, have no article of a known category: nothing is
    known of a new user.
    """
    history, first = (shown.category_counts(each) for each in (shown.history, shown.first(k)))
    p, q = _shares(history), _shares(first)
    # where p is: as alpha p > 0 there, both have their entries at the same places
    smoothed = csr_matrix((ALPHA * p + (1 - ALPHA) * q).multiply(p > 0))
    for each in (p, smoothed):
        each.sort_indices()
    p.data *= np.log(p.data / smoothed.data)
    defined = (_sums(history) > 0) & (_sums(first) > 0)
    return np.where(defined, _sums(p).clip(min=0), np.nan)  # rounding alone is below 0


def novelty(shown: RankedArticles, k: int) -> NDArray[np.float64]:
    """Mean self-information of the first k, in bits: how rarely they were clicked in training.

    Zhou et al. (2010): -log2 of an article's share of all clicks in training impressions. Every
    article counts one click more than it has (Laplace), as most news of a day have none:
    -log2((clicks + 1) / (all clicks + articles)). NaN without a candidate.
    """
    clicks = shown.facts.clicks
    bits = np.log2(clicks.sum() + shown.facts.articles) - np.log2(clicks + 1)
    return _means(shown.first(k), bits)


def cold_share(shown: RankedArticles, k: int) -> NDArray[np.float64]:
    """Share of the first k that nobody clicked in training impressions; NaN without a candidate."""
    return _means(shown.first(k), shown.facts.clicks == 0)


def _means(articles: Ragged, values: NDArray) -> NDArray[np.float64]:
    """Means over rows of a value by news id, ``[rows]``."""
    row = np.repeat(np.arange(articles.rows), articles.lengths)
    totals = np.bincount(row, values[articles.values], minlength=articles.rows)
    return _quotient(totals, articles.lengths)


def _shares(counts: csr_matrix) -> csr_matrix:
    """Counts of each row over their sum; a row of nothing stays so."""
    return csr_matrix(counts.multiply(1 / np.maximum(_sums(counts), 1)[:, None]))


def _sums(counts: csr_matrix) -> NDArray[np.float64]:
    return np.asarray(counts.sum(axis=1), np.float64).ravel()


def _quotient(above: NDArray, below: NDArray) -> NDArray[np.float64]:
    """NaN where it is 0 / 0."""
    with np.errstate(invalid="ignore"):
        return above / below
