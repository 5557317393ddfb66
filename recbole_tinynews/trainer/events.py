"""Events for TensorBoard and W&B: ``STAGE/train/LOSS``, ``/epoch/LOSS`` and ``/valid/METRIC``.

Training losses are means since the last of at most 200 points. RecBole itself logs every
training under the same names and by epoch.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from logging import getLogger
from typing import Any

import recbole.trainer.trainer as recboles
from recbole.utils import WandbLogger

from recbole_tinynews.processes.group import process_group

TENSORBOARD = "tensorboard"  # folder beside the weights
TRAIN, EPOCH, VALID = "train", "epoch", "valid"
_STEPS_OF_RECBOLE = frozenset(("train_step", "valid_step"))  # counts of epochs and validations
_RECBOLES_SCORE = "Vaild_score"  # sic
_replacing = threading.Lock()


class StageTensorboard:
    """A ``SummaryWriter`` in the stage's folder that prefixes tags with the stage's name.

    It is opened by its first event, since RecBole makes one per trainer, even for evaluation; it
    hides events after the saved state of a resumed training, and warns once if it cannot write.
    Only the first process writes. Of the trainer, events read ``config``, ``folder``, ``step`` and
    ``progress``.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._failed = not process_group().first
        self._writer: Any = None

    @property
    def log_dir(self) -> str:
        """Folder of the events."""
        return str(self._trainer.folder / TENSORBOARD)

    def add_scalar(self, tag: str, value: float, global_step: int, **named: Any) -> None:
        """Write an event under the stage's name."""
        if tag == _RECBOLES_SCORE:
            tag, global_step = f"{VALID}/score", self._trainer.step
        tag = f"{self._trainer.progress.tag}/{tag}"
        self._call("add_scalar", tag, value, global_step, **named)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return partial(self._call, name)

    def _call(self, method: str, *values: Any, **named: Any) -> None:
        if self._failed:
            return
        try:
            if self._writer is None:
                from torch.utils.tensorboard import SummaryWriter

                first_hidden = self._trainer.progress.first + 1
                self._writer = SummaryWriter(self.log_dir, purge_step=first_hidden)
            getattr(self._writer, method)(*values, **named)
        except OSError as problem:
            self._failed = True
            getLogger().warning(f"No events are written to {self.log_dir}: {problem}")

    def close(self) -> None:
        """Stop its threads and close its file; a later event opens a new one."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with suppress(OSError):
                writer.close()


class StageWandb(WandbLogger):
    """RecBole's logger with metrics prefixed by stage, by optimizer step."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._tag = ""
        super().__init__(trainer.config)

    def _set_steps(self) -> None:
        """Disabled: the stage is unknown before its first metric."""

    def log_metrics(
        self, metrics: Mapping[str, Any], head: str = TRAIN, commit: bool = True
    ) -> None:
        """Log metrics at this step, except RecBole's by epoch, already logged by step."""
        if _STEPS_OF_RECBOLE.isdisjoint(metrics):
            self.log(head, self._trainer.step, metrics, commit)

    def log_eval_metrics(self, metrics: Mapping[str, Any], head: str = "eval") -> None:
        """Disabled: validations are logged by step, and the test by the run."""

    def log(self, kind: str, step: int, values: Mapping[str, Any], commit: bool = True) -> None:
        """Log values at a step, under stage and kind."""
        if not self.log_wandb:
            return
        tag = self._trainer.progress.tag
        if tag != self._tag:
            self._wandb.define_metric(f"{tag}/*", step_metric=f"{tag}_step")
            self._tag = tag
        super().log_metrics({**values, f"{tag}_step": step}, f"{tag}/{kind}", commit)


@contextmanager
def events_of(trainer: Any) -> Iterator[None]:
    """Make RecBole's trainer, which has no hook for loggers, use these two inside."""
    ours = {
        "get_tensorboard": lambda logger: StageTensorboard(trainer),
        "WandbLogger": lambda config: StageWandb(trainer),
    }
    with _replacing:
        originals = {name: getattr(recboles, name) for name in ours}
        for name, made in ours.items():
            setattr(recboles, name, made)
        try:
            yield
        finally:
            for name, original in originals.items():
                setattr(recboles, name, original)
