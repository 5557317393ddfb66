"""Masked-language-model training, validated on masked tokens of held-out texts."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from recbole_tinynews.files.progress import progress_bar
from recbole_tinynews.processes.group import all_gather_object, shard_slice
from recbole_tinynews.settings.protocol import Settings
from recbole_tinynews.trainer.news_trainer import NewsTrainer

LOSS, ACCURACY, TOKENS = "held_out_loss", "accuracy", "tokens"


class MaskedLanguageModelTrainer(NewsTrainer):
    """Keeps the weights of lowest held-out loss; validates loss and accuracy on masked tokens."""

    def __init__(self, config: Settings, model: Any, folder: Path | None = None) -> None:
        super().__init__(config, model, folder)
        self.valid_metric, self.valid_metric_bigger = LOSS, False
        self.best_valid_score = np.inf

    @torch.no_grad()
    def _valid_epoch(self, valid_data: Any, show_progress: bool = False) -> tuple[float, dict]:
        self.model.eval()
        own = shard_slice(len(valid_data), self.group)
        batches = itertools.islice(valid_data, own.start, own.stop)
        sums = []
        total = own.stop - own.start
        for batch in progress_bar(batches, desc="Evaluate", shown=show_progress, total=total):
            with self._autocast():
                scores, truth = self.model.guess(batch.to(self.device))
            loss = F.cross_entropy(scores, truth, reduction="sum").item()
            sums.append((loss, int((scores.argmax(dim=-1) == truth).sum()), len(truth)))
        # all batches in their order, so that the sum equals that of one process to the last digit
        loss, right, tokens = map(sum, zip(*itertools.chain(*all_gather_object(sums)), strict=True))
        counted, places = max(tokens, 1), self.config["metric_decimal_place"]
        means = {LOSS: loss / counted, ACCURACY: right / counted}
        result = {**{name: round(mean, places) for name, mean in means.items()}, TOKENS: tokens}
        self._add_validation(result)
        return result[LOSS], result
