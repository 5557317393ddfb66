"""Frozen recommenders as teachers, never part of a student."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from recbole_tinynews.distillation.outputs import Outputs, Teacher, Teachers
from recbole_tinynews.encoder.states import NO_TAPS, Taps
from recbole_tinynews.processes.group import process_group

MEMORY_SHARE = 0.25  # of free memory, for the inner states of all teachers


class FrozenTeachers(Teachers):
    """Recommenders in evaluation mode; each article is encoded once, inner states in each step."""

    def __init__(self, teachers: Sequence[Teacher]) -> None:
        super().__init__()
        if not teachers:
            raise ValueError("FrozenTeachers expects at least 1 teacher, got none.")
        self.members = nn.ModuleList(cast("Sequence[nn.Module]", teachers))
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> FrozenTeachers:
        """Stays in evaluation mode."""
        return super().train(False)

    def encode_ahead(
        self, ids: NDArray[np.int64], show_progress: bool = False, folder: Path | None = None
    ) -> None:
        """Encode the articles of later batches, shared by all trainings with this ``folder``."""
        for teacher in self._teachers():
            teacher.news_encoder.encode_ahead(ids, show_progress, folder)
            teacher.news_encoder.close_table()

    def tap_ahead(self, ids: NDArray[np.int64], taps: Taps, show_progress: bool = False) -> None:
        """Store inner states of the articles of later batches, as far as memory allows."""
        # several processes would each need the states of all articles, but use a part in a step
        if not process_group().alone:
            return
        share = MEMORY_SHARE / len(self.members)
        for teacher in self._teachers():
            teacher.news_encoder.tap_ahead(ids, taps, share, show_progress)
            teacher.news_encoder.close_table()

    @torch.no_grad()
    def outputs(self, batch: Any, taps: Taps = NO_TAPS) -> list[Outputs]:
        """Outputs of each teacher, in full precision after the news encoder."""
        return [_outputs(teacher, batch, taps) for teacher in self._teachers()]

    def _teachers(self) -> Iterator[Teacher]:
        return iter(cast("Sequence[Teacher]", self.members))


def _outputs(teacher: Teacher, batch: Any, taps: Taps) -> Outputs:
    """Scores come from stored vectors; inner states take another pass."""
    news = teacher.encode(batch)
    # contiguous, since torch rounds products of slices differently
    news = news._replace(candidates=news.candidates.contiguous(), history=news.history.contiguous())
    with torch.autocast(news.history.device.type, enabled=False):
        outputs = teacher.outputs_of(news)
    return outputs._replace(states=teacher.encode(batch, taps).states) if any(taps) else outputs
