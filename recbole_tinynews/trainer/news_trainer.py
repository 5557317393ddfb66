"""Trainer of recommenders that encode texts, and those of untrained recommenders."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.utils import set_color
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from tqdm import tqdm

from recbole_tinynews.data.dataloader import ClickDataLoader
from recbole_tinynews.files.progress import progress_bar
from recbole_tinynews.files.tensors import load_weights
from recbole_tinynews.processes.group import (
    ALONE,
    all_gather_object,
    broadcast_weights,
    process_group,
    sum_gradients,
)
from recbole_tinynews.settings.protocol import Settings
from recbole_tinynews.trainer.checkpoints import (
    STATE,
    TrainingState,
    newest_state,
    put_state,
    save_state,
    take_state,
)
from recbole_tinynews.trainer.impression_evaluation import ImpressionEvaluation
from recbole_tinynews.trainer.losses import (
    POINTS,
    Budget,
    BudgetCounter,
    Losses,
    LossMeans,
    Pace,
    PendingLosses,
    as_terms,
    loss_columns,
    named_losses,
    parts_of_means,
)
from recbole_tinynews.trainer.optimization import (
    autocast_dtype,
    keep_freed_memory,
    make_schedule,
    most_steps,
    parameter_groups,
)
from recbole_tinynews.trainer.stage_events import TRAIN

# optimizer steps between readings of losses, which wait for a GPU
READ_STEPS = 10  # except on CPUs, where reading is free

BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}"  # the time left: of the run

LossFunction = Callable[[Interaction], "Tensor | tuple[Tensor, ...]"]


class NewsTrainer(ImpressionEvaluation):
    """RecBole's ``Trainer`` with its epochs, early stopping, evaluation and logging.

    Adds two learning rates, gradient accumulation, warm-up, mixed precision, clipping, losses by
    name and step, and ``after_step``, a hook.
    """

    bar: tqdm
    budget: BudgetCounter
    clip_grad_norm: Any
    epochs: int
    eval_step: int
    train_data: Any

    def __init__(self, config: Settings, model: Any, folder: Path | None = None) -> None:
        super().__init__(config, model, folder)
        self.accumulation_steps = config["accumulation_steps"]
        self.dtype = autocast_dtype(config["precision"], self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        if isinstance(self.clip_grad_norm, (int, float)):  # RecBole's setting is a dict
            self.clip_grad_norm = {"max_norm": self.clip_grad_norm}
        self.round = 0
        self.group = ALONE
        self.schedule: Any = None
        self.losses, self.recent, self.pending = LossMeans(), LossMeans(), PendingLosses()
        self.read_steps = 1 if self.device.type == "cpu" else READ_STEPS
        self._state: TrainingState | None = None

    def _build_optimizer(self, **kwargs: Any) -> torch.optim.Optimizer:
        static = self.config["num_hidden_layers"] == 0  # vectors of tokens are no layers
        plm_rate = None if static else self.config["plm_learning_rate"]
        groups = parameter_groups(self.learners, self.config["learning_rate"], plm_rate)
        amsgrad = {"amsgrad": self.config["amsgrad"]}  # RecBole passes none on
        return super()._build_optimizer(params=[{**group, **amsgrad} for group in groups])

    @property
    def learners(self) -> nn.Module:
        """Modules that the optimizer updates and a saved state holds."""
        return self.model

    def fit(self, train_data: Any, valid_data: Any = None, **kwargs: Any) -> tuple:
        """Train as RecBole does, in rounds of ``eval_steps`` optimizer steps or one epoch.

        After ``resume_checkpoint``, a training ends with the weights of an uninterrupted one.
        Returns best validation score and result.
        """
        keep_freed_memory()
        self.steps_per_pass = math.ceil(len(train_data) / self.accumulation_steps)
        self.last_step = most_steps(
            len(train_data), self.epochs, self.accumulation_steps, self.config["max_steps"]
        )
        self.steps_per_round = self.config["eval_steps"] or self.steps_per_pass
        self.epochs = math.ceil(self.last_step / self.steps_per_round)
        self.eval_step = min(self.eval_step, self.epochs)
        self.schedule = make_schedule(self.optimizer, self.config["warmup_steps"], self.last_step)
        self.train_data = train_data
        train_data.pin_memory = self.device.type == "cuda"
        train_data.group = self.group = process_group()
        with self._autocast():
            self.model.news_encoder.open_table()
        of_clicks = isinstance(train_data, ClickDataLoader)
        candidates = 1 + train_data.negatives.count if of_clicks else 0
        self.budget = BudgetCounter(self.model, self.learners, candidates)
        if self._state is not None:
            self._resume(self._state)
        if not self.group.alone:
            self._check_together(train_data)
            broadcast_weights(self.learners)
        result = super().fit(train_data, valid_data, **kwargs)
        self._log_recent(self.step)
        return result

    def _check_together(self, train_data: Any) -> None:
        every = all_gather_object([self.step, len(train_data), train_data.sample_size])
        if any(each != every[0] for each in every):
            raise ValueError(
                "Training in several processes expects the same step, batches and samples in all "
                f"of them, got {every}. Let all machines read the same data and one checkpoint_dir."
            )

    def _train_epoch(
        self,
        train_data: Any,
        epoch_idx: int,
        loss_func: LossFunction | None = None,
        show_progress: bool = False,
    ) -> Losses:
        self.model.train()
        self.optimizer.zero_grad()
        loss_func = loss_func or self.model.calculate_loss
        self.round = epoch_idx
        end = min((epoch_idx + 1) * self.steps_per_round, self.last_step)
        self.progress.begin(self.step, self.last_step)
        pace = Pace(self.budget)
        with progress_bar(
            desc=", ".join(filter(None, [self.progress.label, f"epoch {epoch_idx}"])),
            shown=show_progress,
            total=end,
            initial=self.step,
            bar_format=BAR,
        ) as self.bar:
            while self.step < end:
                self._train_pass(pace, end, loss_func)
        self.rates = pace.rates()
        self._save_state()
        means = self.losses.means()
        self.losses = LossMeans()
        return means

    def _train_pass(self, pace: Pace, end: int, loss_func: LossFunction) -> None:
        number, steps = divmod(self.step, self.steps_per_pass)
        trained = steps * self.accumulation_steps
        self.train_data.set_epoch(number, trained)
        last, bounds = len(self.train_data), self.train_data.bounds
        mean: Any = 0.0  # losses of the step so far
        for batch, interaction in enumerate(pace.timed(self.train_data), start=trained + 1):
            if not self.group.alone:  # dropout by epoch, batch and process, for resuming
                seed = [self.config["seed"], number, batch, self.group.rank]
                torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
            share = float(bounds[batch] - bounds[batch - 1]) / self._samples_of(self.step + 1)
            losses = self._backward(interaction, loss_func, share)
            mean = mean + share * self.pending.add(self.step + 1, losses)
            if batch % self.accumulation_steps == 0 or batch == last:
                step = self.step + 1
                saving = step % (self.config["save_steps"] or self.last_step) == 0
                if saving or step >= end or step % self.read_steps == 0:
                    self._read_losses()  # before the update, as NaN would spoil all weights
                self._update()
                self.after_step(step, type(losses)(*mean))
                mean = 0.0
                if step >= end:
                    break
                if saving:
                    self._save_state()

    def after_step(self, step: int, losses: Losses) -> None:
        """Hook after each optimizer step, which counts and shows it: overrides call ``super``.

        ``losses`` are means over the step's samples, tensors (reading one waits for a GPU); with
        several processes they add up to the means.
        """
        self.budget.samples += self._samples_of(step)
        self.progress.reach(step)
        self.bar.update()
        if step % 10 == 0 and not self.bar.disable:
            shown = f"loss {self.losses.total():.4f}", self.progress.time_left()
            self.bar.set_postfix_str(", ".join(filter(None, shown)), refresh=False)

    def _samples_of(self, step: int) -> int:
        """Samples of an optimizer step (from 1) of the current pass, of all processes."""
        first = (step - 1) % self.steps_per_pass * self.accumulation_steps
        start, *_, stop = self.train_data.bounds[first : first + self.accumulation_steps + 1]
        return int(stop - start)

    def _read_losses(self) -> None:
        """Record the losses since the last reading; ``ValueError`` for NaN."""
        for step, batches in itertools.groupby(self.pending.read(), key=itemgetter(0)):
            for _, losses in batches:
                if math.isnan(sum(losses)):
                    raise ValueError(_not_a_number(losses, step))
                self.losses.add(losses)
                self.recent.add(losses)
            if step % math.ceil(self.last_step / POINTS) == 0:
                self._log_recent(step)

    def _log_recent(self, step: int) -> None:
        """Log the means of the losses since the last time."""
        if self.recent.batches:
            self.tensorboard.log(TRAIN, step, loss_columns(self.recent.means()))
        self.recent = LossMeans()

    def _backward(self, interaction: Interaction, loss_func: LossFunction, share: float) -> Losses:
        with self._autocast():
            batch = self.prepare(interaction.to(self.device))
            losses = as_terms(loss_func(batch))
            if not self.group.alone:
                losses = parts_of_means(losses, batch, self.model)
        self.scaler.scale(torch.stack(losses).sum() * share).backward()
        return losses

    def prepare(self, interaction: Interaction) -> Interaction:
        """Hook to label a batch or select its candidates before the loss."""
        return interaction

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None)

    def _update(self) -> None:
        if not self.group.alone:
            sum_gradients(self.learners.parameters())
        self.scaler.unscale_(self.optimizer)
        self._before_step()
        if self.clip_grad_norm:
            clip_grad_norm_(self.learners.parameters(), **self.clip_grad_norm)
        scale = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.scaler.get_scale() >= scale:  # else fp16 overflowed and the step was skipped
            self.schedule.step()
        self.optimizer.zero_grad()
        self.step += 1

    def _before_step(self) -> None:
        """Hook for the complete, unscaled gradients before clipping."""

    def before_ranking(self, eval_data: Any, show_progress: bool) -> None:
        """Encode the articles of all batches, each once."""
        self.model.eval()
        with self._autocast():
            self.model.news_encoder.encode_ahead(eval_data.news_ids(), show_progress)

    @property
    def state_folder(self) -> Path:
        """Folder of an unfinished training's state."""
        return self.folder / STATE

    def resume_checkpoint(self, resume_file: str | None = None) -> None:
        """Resume in ``fit`` from a ``state`` folder; warns and starts over if it is unreadable."""
        self._state = newest_state(Path(resume_file) if resume_file else self.state_folder)

    def _saved_so_far(self, state: TrainingState) -> list[Path]:
        path = Path(self.saved_model_file)
        validated = state.progress["best_valid_result"] is not None
        return [path] if validated or path.is_file() else []

    def _resume(self, state: TrainingState) -> None:
        try:
            for file in self._saved_so_far(state):
                load_weights(file)  # a damaged file would pass for the best weights
            put_state(self.learners, self.optimizer, state)
        except (OSError, ValueError) as problem:
            self.logger.warning(f"{self.state_folder} is no state to resume from: {problem}")
            return
        progress = state.progress
        self.step = progress["step"]
        self.start_epoch = progress["round"]
        self.cur_step = progress["cur_step"]
        self.best_valid_score = progress["best_valid_score"]
        self.best_valid_result = progress["best_valid_result"]
        self.losses = LossMeans(**progress["losses"])
        self.recent = LossMeans(**progress["recent"])
        self.budget.before = Budget(*progress["budget"])
        self.schedule.load_state_dict(progress["schedule"])
        self.scaler.load_state_dict(progress["scaler"])
        self.logger.info(f"Resuming from step {self.step} of {self.last_step}.")

    def _save_state(self) -> None:
        if self.config["save_steps"] == 0:
            return
        budget = self.budget.total()
        if not self.group.first:
            return
        progress = {
            "step": self.step,
            "round": self.round,
            "cur_step": self.cur_step,
            "best_valid_score": float(self.best_valid_score),
            "best_valid_result": self.best_valid_result,
            "losses": self.losses.as_dict(),
            "recent": self.recent.as_dict(),
            "budget": budget,
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        save_state(self.state_folder, take_state(self.learners, self.optimizer, progress))

    def _generate_train_loss_output(
        self, epoch_idx: int, s_time: float, e_time: float, losses: Any
    ) -> str:
        places = self.config["loss_decimal_place"] or 4
        parts = [
            set_color(name, "blue") + f": {value:.{places}f}"
            for name, value in named_losses(losses)
        ]
        *speeds, (_, waiting) = self.rates.items()
        shown = {name.replace("_per_second", "/s"): f"{value:,.1f}" for name, value in speeds}
        shown["waiting for the loader"] = f"{waiting:.1%}"
        parts += [f"{set_color(name, 'blue')}: {value}" for name, value in shown.items()]
        head, time = set_color(f"epoch {epoch_idx} training", "green"), set_color("time", "blue")
        line = f"{head} [{time}: {e_time - s_time:.2f}s, {', '.join(parts)}]"
        return self.progress.around(line)


def _not_a_number(losses: Losses, step: int) -> str:
    parts = ", ".join(f"{name} {float(value):.4g}" for name, value in named_losses(losses))
    return (
        f"Training expects finite losses, got {parts} in optimizer step {step}. "
        "Lower the learning rate, set clip_grad_norm, or set precision=fp32."
    )


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
