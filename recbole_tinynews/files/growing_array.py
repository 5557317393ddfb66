"""Arrays larger than memory, written block by block."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

_COPY_BLOCK = 1 << 20  # values


class GrowingArray:
    """A flat array in an unnamed file, which disappears with the process, however that ends.

    The file is in ``folder`` if that is writable, else in the system's temporary folder.
    """

    def __init__(self, folder: Path | None, start: NDArray[Any]) -> None:
        self._folder, self._dtype, self._length = folder, start.dtype, 0
        self._file = _unnamed_file(folder)
        self.append(start)

    def append(self, block: NDArray[Any]) -> None:
        """Add values of the same type; strings may be longer than those before."""
        if block.dtype.itemsize > self._dtype.itemsize:
            self._widen(block.dtype)
        self._write(block)

    def array(self) -> NDArray[Any]:
        """All values, memory-mapped."""
        self._file.flush()
        if not self._length:
            return np.empty(0, self._dtype)
        return np.memmap(self._file, self._dtype, "r", shape=(self._length,))

    def _write(self, block: NDArray[Any]) -> None:
        self._file.write(np.ascontiguousarray(block, self._dtype).data.cast("B"))
        self._length += len(block)

    def _widen(self, dtype: np.dtype[Any]) -> None:
        before = self.array()
        self._file, self._dtype, self._length = _unnamed_file(self._folder), dtype, 0
        for start in range(0, len(before), _COPY_BLOCK):
            self._write(before[start : start + _COPY_BLOCK])


def _unnamed_file(folder: Path | None) -> IO[bytes]:
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=folder)
    except OSError:
        return tempfile.TemporaryFile()
