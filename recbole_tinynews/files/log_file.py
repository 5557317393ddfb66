"""Logging in RecBole's format to the terminal and, once anything is trained, a file; W&B."""

from __future__ import annotations

import json
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

LOG = "log"  # default folder, beside the stages
_FORMAT, _DATE = "%(asctime)-15s %(levelname)s  %(message)s", "%a %d %b %Y %H:%M:%S"
_COLOURED, _SHORT_DATE = f"%(log_color)s{_FORMAT}", "%d %b %H:%M"


class LateFile(logging.FileHandler):
    """A file handler that buffers records until ``begin``; write errors only cause a warning."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", delay=True)
        self.setFormatter(logging.Formatter(_FORMAT, _DATE))
        self.addFilter(RemoveColorFilter())
        self._waiting: list[logging.LogRecord] | None = []

    def begin(self) -> None:
        """Write the buffered records and all later ones."""
        waiting, self._waiting = self._waiting or [], None
        with suppress(OSError):  # reported by the first record
            Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
        for record in waiting:
            self.handle(record)

    def emit(self, record: logging.LogRecord) -> None:
        """Write or buffer the record."""
        if self._waiting is not None:
            self._waiting.append(record)
            return
        try:
            super().emit(record)
        except OSError:  # of opening the file
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        """Stop writing and warn once, instead of a traceback for each record."""
        self.addFilter(lambda record: False)
        problem = sys.exc_info()[1]
        logging.getLogger().warning(f"No log is written to {self.baseFilename}: {problem}")


@contextmanager
def run_log(config: Mapping[str, Any], folder: Path) -> Iterator[LateFile]:
    """Log to the terminal, unless handlers exist, and after ``begin`` to a file in ``folder``."""
    root = logging.getLogger()
    level, was = config["state"].upper(), root.level
    name = f"{config['model']}-{get_local_time()}-{secrets.token_hex(3)}.log"
    late = LateFile(folder / str(config["model"]) / name)
    handlers: list[logging.Handler] = [late]
    if not root.handlers:
        terminal = logging.StreamHandler()
        if terminal.stream.isatty():
            colours = {"log_colors": log_colors_config}
            terminal.setFormatter(colorlog.ColoredFormatter(_COLOURED, _SHORT_DATE, **colours))
        else:
            terminal.setFormatter(logging.Formatter(_FORMAT, _SHORT_DATE))
            terminal.addFilter(RemoveColorFilter())
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
            with suppress(OSError):  # of writing, which is told already
                handler.close()
        root.setLevel(was)


@contextmanager
def wandb_run(config: Any) -> Iterator[None]:
    """A W&B run that ends with the block; one that the calling program began stays open."""
    import wandb

    settings = json.loads(json.dumps(config.final_config_dict, default=str))
    if wandb.run is not None:
        wandb.run.config.update(settings, allow_val_change=True)
        yield
        return
    name = f"{config['model']}-{config['dataset']}-{config['seed']}"
    run = wandb.init(project=config["wandb_project"], name=name, config=settings)
    try:
        yield
    except BaseException:
        run.finish(exit_code=1)  # marks it as failed
        raise
    run.finish()
