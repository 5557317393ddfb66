"""The log of a run: on the terminal as RecBole shows it, and in a file if anything is trained.

RecBole's own logger writes into ``./log`` and keeps the file of the first run of a process open;
this one writes where the run's other files are, and is closed at its end.
"""

from __future__ import annotations

import logging
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import colorlog
from recbole.utils import get_local_time
from recbole.utils.logger import RemoveColorFilter, log_colors_config

LOG = "log"  # folder beside the stages, unless `log_dir` names another one
_FORMAT, _DATE = "%(asctime)-15s %(levelname)s  %(message)s", "%a %d %b %Y %H:%M:%S"
_COLOURED, _SHORT_DATE = f"%(log_color)s{_FORMAT}", "%d %b %H:%M"


class LateFile(logging.FileHandler):
    """Keeps records in memory until ``begin``, and writes them into a file from then on.

    A file that cannot be written costs the log and not the run: one warning says so.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", delay=True)
        self.setFormatter(logging.Formatter(_FORMAT, _DATE))
        self.addFilter(RemoveColorFilter())
        self._waiting: list[logging.LogRecord] | None = []
        self._failed = False

    def begin(self) -> None:
        """Write what has waited, and all that follows."""
        waiting, self._waiting = self._waiting or [], None
        with suppress(OSError):  # the first record tells of it
            Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
        for record in waiting:
            self.emit(record)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, unless it has to wait or the file has failed."""
        if self._waiting is not None:
            self._waiting.append(record)
        elif not self._failed:
            try:
                if self.stream is None:
                    self.stream = self._open()
                super().emit(record)
            except OSError:
                self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        """Write no more, and warn once; logging would print a traceback for each record."""
        self._failed = True
        problem = sys.exc_info()[1]
        logging.getLogger().warning(f"No log is written to {self.baseFilename}: {problem}")

    def close(self) -> None:
        """Close the file; what a full disk does not take is lost."""
        with suppress(OSError):
            super().close()


@contextmanager
def run_log(config: Mapping[str, Any], folder: Path) -> Iterator[LateFile]:
    """Log to the terminal and, from ``LateFile.begin`` on, into a file in ``folder``.

    The root logger of a program that has set one up keeps its handlers and level.
    """
    root = logging.getLogger()
    level, was = config["state"].upper(), root.level
    name = f"{config['model']}-{get_local_time()}-{secrets.token_hex(3)}.log"
    late = LateFile(folder / str(config["model"]) / name)
    handlers: list[logging.Handler] = [late]
    if not root.handlers:
        terminal = _terminal()
        handlers.insert(0, terminal)  # first, since the file's filter removes colours
        root.setLevel(level)
    for handler in handlers:
        handler.setLevel(level)
        root.addHandler(handler)
    try:
        yield late
    finally:
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()
        root.setLevel(was)


def _terminal() -> logging.StreamHandler:
    """A handler that writes to stderr, in colours where that is a terminal."""
    terminal = logging.StreamHandler()
    if terminal.stream.isatty():
        terminal.setFormatter(
            colorlog.ColoredFormatter(_COLOURED, _SHORT_DATE, log_colors=log_colors_config)
        )
    else:
        terminal.setFormatter(logging.Formatter(_FORMAT, _SHORT_DATE))
        terminal.addFilter(RemoveColorFilter())
    return terminal
