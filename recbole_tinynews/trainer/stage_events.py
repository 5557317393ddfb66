"""Events for TensorBoard and W&B: ``STAGE/train/LOSS``, ``/epoch/LOSS`` and ``/valid/METRIC``.

Training losses are means since the last of at most 200 points. RecBole itself logs every
training under the same names and by epoch.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from logging import getLogger
from typing import Any

import recbole.trainer.trainer as recboles

from recbole_tinynews.processes.group import process_group

TENSORBOARD = "tensorboard"  # folder beside the weights
TRAIN, EPOCH, VALID = "train", "epoch", "valid"
_replacing = threading.Lock()


class StageEvents:
    """Stands for RecBole's TensorBoard writer and W&B logger; names begin with the stage's.

    TensorBoard's file is opened by its first event, since RecBole makes one per trainer, even for
    evaluation; it hides events after the saved state of a resumed training, and warns once if it
    cannot be written. Only the first process writes. Of the trainer, events read ``config``,
    ``folder``, ``step`` and ``progress``.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._failed = not process_group().first
        self._writer: Any = None
        self._wandb: Any = None
        self._tag = ""  # defined for W&B
        if trainer.config["log_wandb"]:
            import wandb

            if wandb.run is None:
                wandb.init(project=trainer.config["wandb_project"])
            self._wandb = wandb

    def log(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """Log values by name at an optimizer step."""
        tag = self._trainer.progress.tag
        named = {f"{tag}/{kind}/{name}": value for name, value in values.items()}
        for name, value in named.items():
            self._write("add_scalar", name, value, step)
        if named and self._wandb is not None:
            if tag != self._tag:
                self._wandb.define_metric(f"{tag}/*", step_metric=f"{tag}_step")
                self._tag = tag
            self._wandb.log({**named, f"{tag}_step": step})

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        """RecBole's only one is the validation score, by epoch."""
        name = f"{self._trainer.progress.tag}/{VALID}/score"
        self._write("add_scalar", name, value, self._trainer.step)

    def add_hparams(self, *values: Any, **named: Any) -> None:
        """RecBole's settings and best score."""
        self._write("add_hparams", *values, **named)

    def log_metrics(self, *values: Any, **named: Any) -> None:
        """Disabled: RecBole's are logged by step already."""

    log_eval_metrics = log_metrics  # and the test by the run

    def _write(self, method: str, *values: Any, **named: Any) -> None:
        if self._failed:
            return
        folder = str(self._trainer.folder / TENSORBOARD)
        try:
            if self._writer is None:
                from torch.utils.tensorboard import SummaryWriter

                first_hidden = self._trainer.progress.first + 1
                self._writer = SummaryWriter(folder, purge_step=first_hidden)
            getattr(self._writer, method)(*values, **named)
        except OSError as problem:
            self._failed = True
            getLogger().warning(f"No events are written to {folder}: {problem}")

    def close(self) -> None:
        """Stop its threads and close its file; a later event opens a new one."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with suppress(OSError):
                writer.close()


@contextmanager
def events_of(trainer: Any) -> Iterator[None]:
    """Make RecBole's trainer, which has no hook for loggers, use ours inside."""
    events = StageEvents(trainer)
    names = "get_tensorboard", "WandbLogger"
    with _replacing:
        originals = {name: getattr(recboles, name) for name in names}
        for name in names:
            setattr(recboles, name, lambda *_: events)
        try:
            yield
        finally:
            for name, original in originals.items():
                setattr(recboles, name, original)
