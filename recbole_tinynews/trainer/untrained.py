"""The trainer of recommenders that train nothing: it saves and validates them as they are."""

from __future__ import annotations

from typing import Any

from recbole_tinynews.trainer.budget import BudgetCounter
from recbole_tinynews.trainer.impression_evaluation import ImpressionEvaluation
from recbole_tinynews.trainer.news_trainer import NewsTrainer


class UntrainedTrainer(ImpressionEvaluation):
    """Saves and validates a recommender without training it.

    For a recommender that encodes texts use ``UntrainedNewsTrainer``.
    """

    eval_step: int

    def _build_optimizer(self, **kwargs: Any) -> Any:
        """Return None instead of an optimizer, as nothing trains."""

    def fit(self, train_data: Any, valid_data: Any = None, **kwargs: Any) -> tuple:
        """Save the recommender and, unless ``eval_step`` is 0, validate it.

        Returns:
            The validation score, and the whole validation result.
        """
        self.budget = BudgetCounter(self.model, self.model, reads_clicks=False)
        self._save_checkpoint(0)
        if not valid_data or self.eval_step <= 0:
            return self.best_valid_score, None
        return self._valid_epoch(valid_data, kwargs.get("show_progress", False))

    def resume_checkpoint(self, resume_file: str | None = None) -> None:
        """Does nothing: without training there is no state to resume from."""


class UntrainedNewsTrainer(UntrainedTrainer, NewsTrainer):
    """Saves and validates a recommender that encodes texts without training it."""
