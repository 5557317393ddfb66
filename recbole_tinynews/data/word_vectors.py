"""Word vectors in GloVe's text format: a word and its numbers on each line."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.files.array_cache import Arrays
from recbole_tinynews.files.lines import read_lines


def vectors_of(words: Sequence[str], file: Path, dim: int) -> Arrays:
    """Ascending ``rows`` of words found, ``vectors [found, dim]``; ``ValueError`` if none."""
    found = np.zeros((len(words), dim), dtype=np.float32)
    missing = {word: row for row, word in enumerate(words)}
    for number, line in enumerate(read_lines(file), start=1):
        row = missing.get(line.partition(" ")[0])
        if row is None:
            continue
        word, *numbers = line.rstrip().rsplit(" ", dim)
        further = word.split(" ")[1:]
        if further and _finite(further) is None:  # a few words of GloVe's contain spaces
            continue
        numbers = further + numbers
        if number == 1 and _is_header(numbers):
            continue
        found[row] = _vector(numbers, dim, file, number)
        del missing[words[row]]
    rows = np.setdiff1d(np.arange(len(words)), np.array([*missing.values()], dtype=np.int64))
    if not len(rows):
        raise ValueError(
            f"{file} expects vectors of words of the data set, in lower case and in its language, "
            f"got none of these {len(words):,} words. Name another file, or leave word_vectors out."
        )
    return {"rows": rows, "vectors": found[rows]}


def size_of_vectors(file: Path) -> int:
    """Size of a file's vectors; ``FileNotFoundError``, or ``ValueError`` if it has none."""
    for number, line in enumerate(islice(read_lines(file), 2), start=1):
        numbers = line.rstrip().split(" ")[1:]
        if number == 1 and _is_header(numbers):
            continue
        return len(_vector(numbers, len(numbers), file, number))
    raise ValueError(f"{file} expects a word and its numbers on each line, got no such line.")


def _is_header(numbers: list[str]) -> bool:
    return len(numbers) == 1


def _finite(texts: list[str]) -> NDArray[np.float32] | None:
    """The numbers in the texts; None unless all are finite."""
    try:
        numbers = np.array(texts, dtype=np.float32)
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None


def _vector(numbers: list[str], dim: int, file: Path, line: int) -> NDArray[np.float32]:
    vector = _finite(numbers)
    if vector is None or len(vector) != dim:
        raise ValueError(
            f"{file}, line {line}, expects a word and {dim} numbers with spaces between them, got "
            f"{len(numbers)} values that begin with {' '.join(numbers)[:40]!r}. Set word_dim to "
            "the size of its vectors, or repair the line."
        )
    return vector
