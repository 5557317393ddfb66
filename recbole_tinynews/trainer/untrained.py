"""Trainer of recommenders without training: saves and validates them."""

from __future__ import annotations

from typing import Any

from recbole_tinynews.trainer.budget import BudgetCounter
from recbole_tinynews.trainer.impression_evaluation import ImpressionEvaluation
from recbole_tinynews.trainer.news_trainer import NewsTrainer


class UntrainedTrainer(ImpressionEvaluation):
    """Saves and validates a recommender; for those that encode texts: ``UntrainedNewsTrainer``."""

    eval_step: int

    def _build_optimizer(self, **kwargs: Any) -> Any:
        """None."""

    def fit(self, train_data: Any, valid_data: Any = None, **kwargs: Any) -> tuple:
        """Save and, unless ``eval_step`` is 0, validate; returns score and result."""
        self.budget = BudgetCounter(self.model, self.model)
        self._save_checkpoint(0)
        if not valid_data or self.eval_step <= 0:
            return self.best_valid_score, None
        return self._valid_epoch(valid_data, kwargs.get("show_progress", False))

    def resume_checkpoint(self, resume_file: str | None = None) -> None:
        """Does nothing: there is no state."""


class UntrainedNewsTrainer(UntrainedTrainer, NewsTrainer):
    """Saves and validates an untrained recommender that encodes texts."""
