"""Log, progress and W&B run of a training."""

from __future__ import annotations
