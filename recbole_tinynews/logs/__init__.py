"""Log, progress and W&B run of a training."""
