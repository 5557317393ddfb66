"""RecBole's trainer for news recommenders: its ``fit``, with one epoch's body written anew."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.trainer import Trainer
from recbole.utils import set_color
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from tqdm import tqdm

from recbole_tinynews.evaluation.collector import ImpressionCollector
from recbole_tinynews.trainer.optimization import autocast_dtype, make_schedule, parameter_groups
from recbole_tinynews.trainer.weights import load_into, load_weights, save_weights

LossFunction = Callable[[Interaction], "Tensor | tuple[Tensor, ...]"]


class NewsTrainer(Trainer):
    """Epochs, early stopping, evaluation and logging are RecBole's.

    Added are two learning rates, gradient accumulation, warm-up, mixed precision that clips true
    gradients, metrics over whole impressions, losses by name, and weights without pickle.

    Attributes:
        saved_model_file: where the best weights of the validation go.
        step: optimizer steps taken so far.
    """

    def __init__(self, config: Any, model: Any) -> None:
        super().__init__(config, model)
        self.eval_collector = ImpressionCollector(config)
        self.saved_model_file = os.path.splitext(self.saved_model_file)[0] + ".safetensors"
        self.accumulation_steps = config["accumulation_steps"]
        self.dtype = autocast_dtype(config["precision"], self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        self.step = 0
        self.schedule: Any = None

    def _build_optimizer(self, **kwargs: Any) -> torch.optim.Optimizer:
        groups = parameter_groups(
            self.model, self.config["learning_rate"], self.config["plm_learning_rate"]
        )
        optimizer = super()._build_optimizer(params=groups, **kwargs)
        for group in optimizer.param_groups:
            if "amsgrad" in group:  # RecBole's Adam has no argument for it
                group["amsgrad"] = bool(self.config["amsgrad"])
        return optimizer

    # ------------------------------------------------------------------------------- training

    def fit(self, train_data: Any, valid_data: Any = None, **kwargs: Any) -> tuple:
        """As RecBole's; ``max_steps`` ends training after that many optimizer steps.

        Returns:
            The best validation score and the result it stands in.
        """
        steps_per_epoch = math.ceil(len(train_data) / self.accumulation_steps)
        self.max_steps = self.config["max_steps"] or self.epochs * steps_per_epoch
        self.epochs = min(self.epochs, math.ceil(self.max_steps / steps_per_epoch))
        self.eval_step = min(self.eval_step, self.epochs)
        self.schedule = make_schedule(
            self.optimizer,
            self.config["warmup_steps"],
            min(self.max_steps, self.epochs * steps_per_epoch),
        )
        return super().fit(train_data, valid_data, **kwargs)

    def _train_epoch(
        self,
        train_data: Any,
        epoch_idx: int,
        loss_func: LossFunction | None = None,
        show_progress: bool = False,
    ) -> float | tuple[float, ...]:
        """Train one epoch; the mean of each loss over its batches, by the names it came with."""
        self.model.train()
        self.optimizer.zero_grad()
        train_data.set_epoch(epoch_idx)
        loss_func = loss_func or self.model.calculate_loss
        total, batches, last = None, 0, len(train_data)
        with tqdm(
            train_data,
            total=last,
            ncols=100,
            desc=set_color(f"Train {epoch_idx:>5}", "pink"),
            disable=not show_progress,
        ) as progress:
            for batches, interaction in enumerate(progress, start=1):
                losses = self._backward(interaction, loss_func, self._group_size(batches, last))
                total = losses if total is None else _add(total, losses)
                if batches % self.accumulation_steps == 0 or batches == last:
                    self._update()
                if batches % 10 == 0 and show_progress:
                    progress.set_postfix_str(_running(total, batches))
                if self.step >= self.max_steps:
                    break
        assert total is not None, "a loader without batches is refused when it is made"
        if isinstance(total, tuple):
            return _like(total, [float(value) / batches for value in total])
        return float(total) / batches

    def _group_size(self, batch: int, last: int) -> int:
        """Batches that share the optimizer step of ``batch`` (the last group may be smaller)."""
        first = (batch - 1) // self.accumulation_steps * self.accumulation_steps
        return min(self.accumulation_steps, last - first)

    def _backward(
        self, interaction: Interaction, loss_func: LossFunction, group_size: int
    ) -> Tensor | tuple[Tensor, ...]:
        """Add the gradient of one batch; returns its losses without graph."""
        enabled = self.dtype is not None
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=enabled):
            losses = loss_func(interaction.to(self.device))
        loss = sum(losses) if isinstance(losses, tuple) else losses
        self._check_nan(loss)
        self.scaler.scale(loss / group_size).backward()
        if isinstance(losses, tuple):
            return _like(losses, [part.detach() for part in losses])
        return losses.detach()

    def _update(self) -> None:
        """One optimizer step; gradients are clipped at their true size."""
        self.scaler.unscale_(self.optimizer)
        if self.clip_grad_norm:
            clip_grad_norm_(self.model.parameters(), **self.clip_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        self.optimizer.zero_grad()
        self.step += 1
        self._after_step()

    def _after_step(self) -> None:
        """For trainers that do something at certain steps."""

    # ----------------------------------------------------------------------------- evaluation

    def _neg_sample_batch_eval(self, batched_data: tuple) -> tuple:
        """Whole impressions, never split: each user is encoded once."""
        interaction = batched_data[0].to(self.device)
        return interaction, self.model.predict(interaction), None, None

    def evaluate(
        self,
        eval_data: Any,
        load_best_model: bool = True,
        model_file: str | None = None,
        show_progress: bool = False,
    ) -> dict | None:
        """As RecBole's, with weights that are read without pickle."""
        if not eval_data:
            return None
        if load_best_model:
            path = Path(model_file or self.saved_model_file)
            load_into(self.model, load_weights(path), path)
            self.logger.info(f"Loading model structure and parameters from {path}")
        self.eval_collector.start(eval_data.impressions.impression_id)
        return super().evaluate(eval_data, load_best_model=False, show_progress=show_progress)

    # ------------------------------------------------------------------- checkpoints and logs

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
        path = Path(kwargs.pop("saved_model_file", self.saved_model_file))
        save_weights(self.model.state_dict(), path)
        if verbose:
            self.logger.info(set_color("Saving current", "blue") + f": {path}")

    def resume_checkpoint(self, resume_file: str) -> None:
        """Not yet: a run that was stopped begins anew."""
        raise NotImplementedError(
            f"NewsTrainer cannot resume {resume_file} yet. Start the training anew."
        )

    def _generate_train_loss_output(
        self, epoch_idx: int, s_time: float, e_time: float, losses: Any
    ) -> str:
        places = self.config["loss_decimal_place"] or 4
        parts = [
            set_color(name, "blue") + f": {value:.{places}f}" for name, value in _named(losses)
        ]
        return (
            set_color(f"epoch {epoch_idx} training", "green")
            + " ["
            + set_color("time", "blue")
            + f": {e_time - s_time:.2f}s, {', '.join(parts)}]"
        )

    def _add_train_loss_to_tensorboard(
        self, epoch_idx: int, losses: Any, tag: str = "Loss/Train"
    ) -> None:
        for name, value in _named(losses):
            self.tensorboard.add_scalar(f"{tag}/{name.replace(' ', '_')}", value, epoch_idx)


def _named(losses: Any) -> list[tuple[str, float]]:
    """``(name, value)`` of each loss, the sum first where there are several."""
    if not isinstance(losses, tuple):
        return [("train loss", losses)]
    names = getattr(losses, "_fields", [f"train_loss{i + 1}" for i in range(len(losses))])
    named = list(zip((f"{name} loss" for name in names), losses, strict=True))
    return named if len(named) == 1 else [("train loss", sum(losses)), *named]


def _like(losses: tuple, values: list) -> tuple:
    """The same kind of tuple, with other values."""
    return type(losses)(*values) if hasattr(losses, "_fields") else tuple(values)


def _add(total: Any, losses: Any) -> Any:
    if isinstance(losses, tuple):
        return _like(losses, [a + b for a, b in zip(total, losses, strict=True)])
    return total + losses


def _running(total: Any, batches: int) -> str:
    value = sum(total) if isinstance(total, tuple) else total
    return f"loss {float(value) / batches:.4f}"
