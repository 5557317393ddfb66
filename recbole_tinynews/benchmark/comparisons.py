"""The pairs of systems that a suite declares to be tested, before it has any results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

Pair = tuple[str, str]  # labels of a system and of the one that it is compared with


def read_comparisons(
    suite: str, declared: Sequence[Any], layers: Mapping[str, int], labels: Collection[str]
) -> list[Pair]:
    """The pairs under ``comparisons`` of a suite, with its sizes in place of ``{large}``.

    Raises:
        ValueError: something that is no pair of two rows, which would be found after all
            trainings, or a pair that occurs twice, which would be corrected for twice.
    """
    odd = [each for each in declared if not (isinstance(each, list) and len(each) == 2)]
    pairs: list[Pair] = [
        (str(each[0]).format_map(layers), str(each[1]).format_map(layers))
        for each in declared
        if each not in odd
    ]
    times = Counter(frozenset(pair) for pair in pairs)
    mistakes = [f"{each!r} is no pair [system, other]" for each in odd]
    mistakes += [f"{label!r} is no row" for pair in pairs for label in pair if label not in labels]
    mistakes += [f"{[*pair]} compares a row with itself" for pair in pairs if len({*pair}) < 2]
    mistakes += [f"{[*pair]} occurs twice" for pair in pairs if times[frozenset(pair)] > 1]
    if mistakes:
        raise ValueError("\n- ".join([f"Suite {suite} has wrong comparisons:", *mistakes]))
    return pairs
