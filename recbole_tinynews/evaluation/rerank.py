"""Re-ranking of a reader's candidates: a list of small values, the same for a test set and live."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.evaluation.beyond_accuracy import RankedArticles
from recbole_tinynews.evaluation.metrics import candidate_ranks
from recbole_tinynews.files.columns import GROUPS
from recbole_tinynews.settings.values import ANY_TEXT, POSITIVE, SHARE, Rule, brief, list_of, one_of

TOP, VECTORS, IDS = "top", "vectors", "ids"
Articles = Mapping[str, NDArray[Any]]
"""By news id: ids, groups by column and, if known, unit vectors ``[news, dim]``."""
EXAMPLE = (
    "[{mmr: 0.7}, {at_most: {category: 2, top: 10}}, already_read, {pinned: [ID]}, "
    "{excluded: [ID]}]"
)


class RerankError(ValueError):
    """An invalid list of re-rankers, or one that needs fields that these articles lack."""


class Candidates(NamedTuple):
    """One reader's candidates; ``clicked`` are ids of the history.

    ``columns`` by ``ReRanking.needs``: ``vectors [candidates, dim]``, and texts, empty if unknown.
    """

    ids: Sequence[str]
    scores: NDArray[np.floating]
    clicked: Container[str]
    columns: Mapping[str, Any] = {}


class ReRanker(NamedTuple):
    """Moves or removes candidates; the name is one of ``KINDS``."""

    name: str
    value: Any


def _mmr(weight: float, order: list[int], of: Candidates) -> list[int]:
    """Maximal marginal relevance (Carbonell and Goldstein 1998), greedy.

    Next comes the candidate with the largest ``weight * relevance - (1 - weight) * similarity``:
    relevance is its score, scaled to 0..1 over the list; similarity is its largest cosine with a
    candidate already picked (0 for the first). Ties keep the order.
    """
    vectors = unit_vectors(of.columns[VECTORS][order])
    scores = np.nan_to_num(of.scores[order].astype(np.float32)).astype(np.float64)
    low, high = scores.min(initial=np.inf), scores.max(initial=-np.inf)
    relevance = weight * (scores - low) / (high - low if high > low else 1)
    similarity = (1 - weight) * (vectors @ vectors.T)
    value, closest = relevance.copy(), np.full(len(order), -np.inf)
    picked = []
    for _ in order:
        best = int(value.argmax())
        picked.append(order[best])
        relevance[best] = -np.inf
        np.maximum(closest, similarity[best], out=closest)
        np.subtract(relevance, closest, out=value)
    return picked


def _at_most(limits: Mapping[str, int], order: list[int], of: Candidates) -> list[int]:
    """Cap the articles of each group among the first ``top`` (default: in the whole list).

    The others follow, even if candidates of other groups don't fill the top. Unknown groups have
    no limit.
    """
    counts: Counter[tuple[str, str]] = Counter()
    first: list[int] = []
    later = []
    for position in order:
        groups = [(name, of.columns[name][position]) for name in limits if name != TOP]
        limited = [group for group in groups if group[1]]
        if len(first) == limits.get(TOP) or any(counts[g] >= limits[g[0]] for g in limited):
            later.append(position)
        else:
            first.append(position)
            counts.update(limited)
    return first + later


def _pinned(ids: Sequence[str], order: list[int], of: Candidates) -> list[int]:
    rank = {name: number for number, name in enumerate(ids)}
    return sorted(order, key=lambda position: rank.get(of.ids[position], len(rank)))


def _without(ids: Container[str], order: list[int], of: Candidates) -> list[int]:
    return [position for position in order if of.ids[position] not in ids]


def _are_limits(value: Any) -> bool:
    named = isinstance(value, Mapping) and {*value} <= {*GROUPS, TOP} and {*value} - {TOP}
    return bool(named) and all(map(POSITIVE.holds, value.values()))


_IDS = list_of(ANY_TEXT, may_be_empty=True)
# what a value must be, and how it maps an order (positions of candidates, best first) to a new one
KINDS: Mapping[str, tuple[Rule, Callable[[Any, list[int], Candidates], list[int]]]] = {
    "mmr": (SHARE, _mmr),
    "at_most": (Rule(f"ints >= 1 by {', '.join(GROUPS)}, optionally top", _are_limits), _at_most),
    "already_read": (one_of(None), lambda _, order, of: _without(of.clicked, order, of)),
    "pinned": (_IDS, _pinned),
    "excluded": (_IDS, lambda ids, order, of: _without({*ids}, order, of)),
}


class ReRanking(tuple[ReRanker, ...]):
    """Re-rankers, applied in order."""

    @classmethod
    def parse(cls, given: Any) -> ReRanking:
        """From plain values, as in a yaml or a request; ``RerankError`` for others."""
        if not isinstance(given, (list, tuple)):
            raise RerankError(f"rerank expects a list such as {EXAMPLE}, got {brief(given)}")
        rerankers = []
        for item in given:
            named = {item: None} if isinstance(item, str) else item
            if not isinstance(named, Mapping) or len(named) != 1 or not {*named} <= KINDS.keys():
                raise RerankError(f"rerank expects values as in {EXAMPLE}, got {brief(item)}")
            [(name, value)] = named.items()
            rule = KINDS[name][0]
            if not rule.holds(value):
                raise RerankError(f"rerank: {name} expects {rule.expected}, got {brief(value)}")
            rerankers.append(ReRanker(name, value))
        movers = [r.name for r in rerankers if r.name in ("mmr", "at_most", "pinned")]
        if "mmr" in movers[1:]:
            raise RerankError(
                "rerank expects mmr once, before at_most and pinned: it orders by score, and would "
                "undo them"
            )
        return cls(rerankers)

    @property
    def needs(self) -> set[str]:
        """The columns of ``Candidates`` that these read."""
        limited = {name for kind, value in self if kind == "at_most" for name in value}
        return (limited - {TOP}) | {VECTORS for kind, _ in self if kind == "mmr"}

    def ids_of(self, kind: str) -> set[str]:
        """Ids of the articles that are ``pinned`` or ``excluded``."""
        return {article for name, value in self if name == kind for article in value}

    def orders(self, order: list[int], of: Candidates) -> Iterator[list[int]]:
        """The order after each re-ranker, from ``order``: positions of candidates, best first."""
        for name, value in self:
            order = KINDS[name][1](value, order, of)
            yield order


def unit_vectors(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    """Vectors of length 1, ``[n, dim]``; zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


def rerank_impressions(
    rerankers: ReRanking,
    scores: NDArray[np.floating],
    candidates: Ragged,
    plain: RankedArticles,
    articles: Articles,
    recent: NDArray[np.integer] | None = None,
) -> list[tuple[NDArray[np.float64], RankedArticles]]:
    """For each re-ranker, scores that reproduce its ranking, and the articles that it leaves.

    Removed candidates rank last, in their old order. Shapes: scores ``[candidates in total]``;
    candidates, ranked in ``plain``, ragged ``[impressions, *]``; ``recent``, clicks after those of
    the histories, ``[impressions, width]``, padded with 0.
    """
    ranks = candidate_ranks(scores, candidates.offsets)
    ranking = np.empty((len(rerankers), len(scores)))
    ranked = np.empty(ranking.shape, candidates.values.dtype)
    left = np.zeros((len(rerankers), candidates.rows), np.int64)
    for row, (start, stop) in enumerate(pairwise(candidates.offsets.tolist())):
        shown, clicked = candidates.values[start:stop], plain.history.row(row)
        if recent is not None:
            clicked = np.union1d(clicked, recent[row])
        unranked = Candidates(
            articles[IDS][shown].tolist(),
            scores[start:stop],
            set(articles[IDS][clicked].tolist()),
            {name: articles[name][shown] for name in rerankers.needs},
        )
        before = np.argsort(ranks[start:stop]).tolist()
        for number, order in enumerate(rerankers.orders(before, unranked)):
            kept = set(order)
            whole = np.array(order + [p for p in before if p not in kept], np.intp)
            ranking[number, start + whole] = -np.arange(stop - start)
            ranked[number, start:stop], left[number, row] = shown[whole], len(order)
    return [
        (own, plain._replace(ranked=Ragged(news, candidates.offsets).first(lengths)))
        for own, news, lengths in zip(ranking, ranked, left, strict=True)
    ]
