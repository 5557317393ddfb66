"""Teachers, which label the batches of a student and are never part of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from recbole_tinynews.encoder.hidden_states import NO_STATES, StateRequest
from recbole_tinynews.model.interface import Outputs


class Teachers(nn.Module):
    """Base of the teachers of one student; those that train with it prepare nothing."""

    def __init__(self, members: Sequence[Any]) -> None:
        super().__init__()
        if not members:
            raise ValueError(f"{type(self).__name__} expects at least 1 teacher, got none.")
        self.members = nn.ModuleList(members)

    def each(self) -> Iterable[Any]:
        """The recommenders."""
        return cast("Iterable[Any]", self.members)

    def outputs(self, batch: Any, request: StateRequest = NO_STATES) -> list[Outputs]:
        """Outputs of each teacher for a training batch, with these hidden states."""
        return [teacher.score(batch, request) for teacher in self.each()]

    def encode_ahead(
        self, ids: NDArray[np.int64], show_progress: bool = False, folder: Path | None = None
    ) -> None:
        """Prepare for batches with these news articles."""


class FrozenTeachers(Teachers):
    """Recommenders in evaluation mode, each of whose articles is encoded once."""

    def __init__(self, teachers: Sequence[Any]) -> None:
        super().__init__(teachers)
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> FrozenTeachers:
        """Stays in evaluation mode."""
        return super().train(False)

    def encode_ahead(
        self, ids: NDArray[np.int64], show_progress: bool = False, folder: Path | None = None
    ) -> None:
        """Encode the articles of later batches, shared by all trainings with this ``folder``."""
        for teacher in self.each():
            teacher.news_encoder.encode_ahead(ids, show_progress, folder)
            teacher.news_encoder.close_table()

    @torch.no_grad()
    def outputs(self, batch: Any, request: StateRequest = NO_STATES) -> list[Outputs]:
        """Outputs of each teacher, in full precision after the news encoder."""
        return [_outputs(teacher, batch, request) for teacher in self.each()]


def _outputs(teacher: Any, batch: Any, request: StateRequest) -> Outputs:
    """Scores come from stored vectors; hidden states take another pass."""
    news = teacher.encode(batch)
    if any(request):
        news = news._replace(states=teacher.encode(batch, request).states)
    with torch.autocast(news.all.device.type, enabled=False):
        return teacher.outputs_of(news)
