"""TensorBoard's events of a training, in the folder of its stage and from the first one on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from logging import getLogger
from pathlib import Path
from typing import Any

import recbole.trainer.trainer as recboles

from recbole_tinynews.processes.group import here

TENSORBOARD = "tensorboard"  # folder beside the weights
_replacing = threading.Lock()


class LateWriter:
    """A ``SummaryWriter`` that is opened by its first event.

    RecBole opens one, with two threads and a file, for each trainer, also of those that only
    evaluate. What cannot be written costs the events and not the training: one warning says so.

    Args:
        place: returns the folder; it is called when the first event comes.
        silent: whether all events are left to another process.
    """

    def __init__(self, place: Callable[[], Path], silent: bool = False) -> None:
        self._place, self._failed = place, silent
        self._writer: Any = None

    @property
    def log_dir(self) -> str:
        """The folder of the events."""
        return str(self._place())

    def __getattr__(self, name: str) -> Any:
        """A method of the writer, which may fail."""
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *values, **named: self._call(name, values, named)

    def _call(self, name: str, values: tuple, named: dict[str, Any]) -> None:
        if self._failed:
            return
        try:
            if self._writer is None:
                from torch.utils.tensorboard import SummaryWriter

                self._writer = SummaryWriter(str(self._place()))
            getattr(self._writer, name)(*values, **named)
        except OSError as problem:
            self._failed = True
            getLogger().warning(f"No events are written to {self._place()}: {problem}")

    def close(self) -> None:
        """End its threads and close its file; a later event opens another one."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with suppress(OSError):
                writer.close()


@contextmanager
def tensorboard_in(place: Callable[[], Path]) -> Iterator[None]:
    """Inside, a trainer of RecBole's gets a ``LateWriter``; it has no hook for it."""

    def late(logger: Any) -> LateWriter:
        return LateWriter(place, silent=not here().first)

    with _replacing:
        original = recboles.get_tensorboard
        recboles.get_tensorboard = late
        try:
            yield
        finally:
            recboles.get_tensorboard = original
