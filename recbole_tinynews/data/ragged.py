"""Ragged arrays: rows of different lengths in flat arrays, without padding."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Ragged(NamedTuple):
    """Row ``i`` is ``values[offsets[i]:offsets[i + 1]]``; ``offsets`` is int64 ``[rows + 1]``."""

    values: NDArray
    offsets: NDArray[np.int64]

    @classmethod
    def from_lengths(cls, values: NDArray, lengths: NDArray) -> Ragged:
        """Consecutive rows of these lengths."""
        offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        if offsets[-1] != len(values):
            raise ValueError(
                f"Ragged expects lengths that sum to the {len(values)} values, got a sum of "
                f"{offsets[-1]}."
            )
        return cls(values, offsets)

    @classmethod
    def layout(cls, lengths: NDArray) -> Ragged:
        """Rows of these lengths without values, to find positions.

        >>> Ragged.layout(np.array([2, 0, 1])).positions(np.array([2, 0])).tolist()
        [2, 0, 1]
        """
        return cls.from_lengths(np.broadcast_to(np.False_, int(lengths.sum())), lengths)

    @classmethod
    def from_rows(cls, rows: Iterable[ArrayLike], dtype: np.dtype | type) -> Ragged:
        """Pack separate arrays.

        >>> Ragged.from_rows([[1, 2], [], [3]], int).lengths.tolist()
        [2, 0, 1]
        """
        arrays = [np.asarray(row, dtype=dtype) for row in rows]
        lengths = np.fromiter((len(a) for a in arrays), np.int64, len(arrays))
        return cls.from_lengths(np.concatenate([np.empty(0, dtype), *arrays]), lengths)

    @classmethod
    def concatenate(cls, parts: list[Ragged]) -> Ragged:
        """Rows of all parts, in order."""
        return cls.from_lengths(
            np.concatenate([part.values for part in parts]),
            np.concatenate([part.lengths for part in parts]),
        )

    @property
    def rows(self) -> int:
        """Number of rows (``len`` counts the fields)."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Lengths of all rows, ``[rows]``."""
        return np.diff(self.offsets)

    def lengths_of(self, rows: NDArray) -> NDArray[np.int64]:
        """Lengths of the chosen rows."""
        return self.offsets[np.asarray(rows) + 1] - self.offsets[rows]

    def positions(self, rows: NDArray) -> NDArray[np.int64]:
        """Indices in ``values`` of the chosen rows, concatenated."""
        return _positions(self.offsets[rows], self.lengths_of(rows))

    def rows_of(self, positions: NDArray) -> NDArray[np.int64]:
        """Rows of the values at ``positions``.

        >>> Ragged.from_rows([[1, 2], [], [3]], int).rows_of(np.array([0, 1, 2])).tolist()
        [0, 0, 2]
        """
        return np.searchsorted(self.offsets, positions, side="right") - 1

    def row(self, index: int) -> NDArray:
        """One row, as a view."""
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def between(self, start: int, stop: int) -> Ragged:
        """Rows ``start .. stop - 1``; values are a view."""
        offsets = self.offsets[start : stop + 1]
        return Ragged(self.values[offsets[0] : offsets[-1]], offsets - offsets[0])

    def take(self, rows: NDArray) -> Ragged:
        """A copy of the chosen rows, in this order.

        >>> Ragged.from_rows([[1, 2], [], [3]], int).take(np.array([2, 0])).values.tolist()
        [3, 1, 2]
        """
        return self._cut(self.offsets[rows], self.lengths_of(rows))

    def padded(self, rows: NDArray, padding: int) -> NDArray:
        """The chosen rows, padded **at the end** to the longest: ``[rows, longest]``.

        >>> Ragged.from_rows([[1, 2], [3]], int).padded(np.array([0, 1]), padding=0).tolist()
        [[1, 2], [3, 0]]
        """
        lengths = self.lengths_of(rows)
        matrix = np.full((len(lengths), lengths.max(initial=0)), padding, dtype=self.values.dtype)
        filled = np.arange(matrix.shape[1]) < lengths[:, None]
        matrix[filled] = self.values[self.positions(rows)]
        return matrix

    def first(self, width: int | NDArray[np.int64]) -> Ragged:
        """The first ``width`` values of each row; one number, or one for each row.

        >>> Ragged.from_rows([[1, 2, 3], [], [4]], int).first(2).values.tolist()
        [1, 2, 4]
        """
        return self._cut(self.offsets[:-1], np.minimum(self.lengths, width))

    def last(self, width: int) -> Ragged:
        """The last ``width`` values of each row.

        >>> Ragged.from_rows([[1, 2, 3], [], [4]], int).last(2).values.tolist()
        [2, 3, 4]
        """
        lengths = np.minimum(self.lengths, width)
        return self._cut(self.offsets[1:] - lengths, lengths)

    def _cut(self, starts: NDArray, lengths: NDArray) -> Ragged:
        return Ragged.from_lengths(self.values[_positions(starts, lengths)], lengths)

    def newest(self, rows: NDArray, width: int) -> NDArray:
        """The last ``width`` values of rows, padded **in front** with 0: ``[rows, width]``.

        >>> Ragged.from_rows([[1, 2, 3], [], [4]], int).newest(np.array([0, 1, 2]), 2).tolist()
        [[2, 3], [0, 0], [0, 4]]
        """
        ends = self.offsets[np.asarray(rows) + 1]
        lengths = np.minimum(self.lengths_of(rows), width)
        shape = len(lengths), width, *self.values.shape[1:]
        padded = np.zeros(shape, dtype=self.values.dtype)
        filled = np.arange(width) >= width - lengths[:, None]  # [rows, width]
        padded[filled] = self.values[_positions(ends - lengths, lengths)]
        return padded


def _positions(starts: NDArray, lengths: NDArray) -> NDArray[np.int64]:
    """Indices ``starts[i], ..., starts[i] + lengths[i] - 1`` of each row, concatenated."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(starts - (ends - lengths), lengths)
