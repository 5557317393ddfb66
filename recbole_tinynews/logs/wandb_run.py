"""The Weights & Biases run of all stages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


@contextmanager
def wandb_run(project: str, name: str, settings: Mapping[str, Any]) -> Iterator[Any]:
    """A W&B run that ends with the block; one begun by the host program goes on."""
    import wandb

    if wandb.run is not None:
        wandb.run.config.update(dict(settings), allow_val_change=True)
        yield wandb.run
        return
    run = wandb.init(project=project, name=name, config=dict(settings))
    try:
        yield run
    except BaseException:
        run.finish(exit_code=1)  # marks it as failed
        raise
    run.finish()


def add_to_summary(values: Mapping[str, float]) -> None:
    """Set summary values of the current W&B run."""
    import wandb

    wandb.run.summary.update(dict(values))
