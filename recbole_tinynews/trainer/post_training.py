"""Trainers of stages without clicks: masked tokens, and title-body matching of both stages."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor
from torch.nn import functional as F

from recbole_tinynews.data.batch import plan_of
from recbole_tinynews.data.fields import CANDIDATES, HISTORY
from recbole_tinynews.encoder.packing import EncodingPlan
from recbole_tinynews.files.progress import progress_bar
from recbole_tinynews.files.tensors import save_weights
from recbole_tinynews.processes.group import all_gather_object, gather_array, shard_slice
from recbole_tinynews.settings.protocol import Settings
from recbole_tinynews.trainer.checkpoints import TrainingState
from recbole_tinynews.trainer.distillation_trainer import DistillationTrainer
from recbole_tinynews.trainer.losses import Losses
from recbole_tinynews.trainer.news_trainer import NewsTrainer
from recbole_tinynews.trainer.optimization import most_steps

COPIES = "copies"  # folder of checkpoints beside the weights
LOSS, ACCURACY, TOKENS = "held_out_loss", "accuracy", "tokens"


def choose_titles(config: Settings, model: Any, interaction: Interaction) -> Interaction:
    """Under ``negative_titles: hard``, choose the hardest candidates, without random numbers."""
    if config["negative_titles"] == "hard":
        titles = interaction[CANDIDATES]
        shared = getattr(plan_of(interaction), "counts", None) is not None
        places = hardest(model.present_scores(interaction), titles, config["negatives"])
        interaction[CANDIDATES] = titles.gather(1, places)
        if shared:
            interaction.plan = _plan_of_all(model, interaction)
    return interaction


def _plan_of_all(model: Any, interaction: Interaction) -> EncodingPlan:
    bodies, titles = (
        np.unique(gather_array(interaction[field].cpu().numpy().ravel()))
        for field in (HISTORY, CANDIDATES)
    )
    plan = model.news_encoder.planner(shared=True).plan(np.union1d(bodies, titles), titles)
    return plan.to(interaction[HISTORY].device)


def hardest(scores: Tensor, titles: Tensor, count: int) -> Tensor:
    """Indices ``[batch, 1 + count]`` of the own title and the highest-scored wrong ones.

    ``scores`` and ``titles`` (ids) are ``[batch, candidates]``, the own title first. Repeated
    titles are chosen only if there are too few others.

    >>> scores = torch.tensor([[0.0, 3.0, 5.0, 3.0, 4.0]])
    >>> hardest(scores, torch.tensor([[7, 1, 2, 1, 3]]), count=3)
    tensor([[0, 2, 4, 1]])
    """
    equal = titles.unsqueeze(2) == titles.unsqueeze(1)  # [batch, candidates, candidates]
    repeats = equal.tril(diagonal=-1).any(dim=2)
    wrong = scores.masked_fill(repeats, -torch.inf)[:, 1:]
    order = wrong.argsort(dim=1, descending=True, stable=True)[:, :count] + 1
    return torch.cat([torch.zeros_like(order[:, :1]), order], dim=1)


def most_copies(config: Settings, batches: int) -> int:
    """Copies that a post-training saves without early stopping; ``batches`` per epoch."""
    steps = most_steps(batches, config["epochs"], config["accumulation_steps"], config["max_steps"])
    return max(1, math.ceil(steps / config["teacher_checkpoint_interval"]))


class PostTrainingTrainer(NewsTrainer):
    """Saves trained weights every ``teacher_checkpoint_interval`` steps and at the end."""

    @property
    def copies_folder(self) -> Path:
        """Folder of the copies, ``step-N.safetensors``."""
        return self.folder / COPIES

    def fit(self, train_data: Any, valid_data: Any = None, **kwargs: Any) -> tuple:
        """Train as ``NewsTrainer`` does, but save the last weights instead of the best."""
        result = super().fit(train_data, valid_data, **kwargs)
        self._save_copy()
        self._save_checkpoint(self.epochs - 1, verbose=False)
        return result

    def prepare(self, interaction: Interaction) -> Interaction:
        """Choose the batch's titles."""
        return super().prepare(choose_titles(self.config, self.model, interaction))

    def _saved_so_far(self, state: TrainingState) -> list[Path]:
        return [*super()._saved_so_far(state), *self.copies_folder.glob("step-*.safetensors")]

    def after_step(self, step: int, losses: Losses) -> None:
        """Count the step, and save a copy if it is due."""
        super().after_step(step, losses)
        if step % self.config["teacher_checkpoint_interval"] == 0:
            self._save_copy()

    def _save_copy(self) -> None:
        if not self.group.first:
            return
        frozen = {n for n, p in self.model.named_parameters() if not p.requires_grad}
        frozen.update(name for name, _ in self.model.named_buffers())
        # state_dict merges adapters into the weights that they adapt, which count as trained
        trained = {n: p for n, p in self.model.state_dict().items() if n not in frozen}
        save_weights(trained, self.copies_folder / f"step-{self.step}.safetensors")


class StageOneTrainer(DistillationTrainer):
    """Trains the student under post-trained teachers."""

    def prepare(self, interaction: Interaction) -> Interaction:
        """Choose the batch's titles, then add the teachers' outputs."""
        return super().prepare(choose_titles(self.config, self.model, interaction))


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
