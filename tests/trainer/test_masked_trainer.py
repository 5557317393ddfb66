from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import Tiny, scalars
from torch.nn import functional as F

from recbole_tinynews.files.tensors import load_weights
from recbole_tinynews.model.stages.masked_language_model import MaskedLanguageModel
from recbole_tinynews.trainer import MaskedLanguageModelTrainer


def pretrain(tiny: Tiny, tmp_path: Path, **settings) -> tuple[MaskedLanguageModelTrainer, tuple]:
    given = "PLMNRDAPT", "pretrain_teacher", MaskedLanguageModel
    config, data, model = tiny.stage(*given, **settings)
    return MaskedLanguageModelTrainer(config, model, tmp_path), data.loaders(config, None)


def test_the_validation_is_a_mean_over_the_hidden_tokens(tiny: Tiny, tmp_path: Path) -> None:
    """A mean of batch means would count a token of a short batch more often."""
    trainer, (_, valid) = pretrain(tiny, tmp_path, pretrain_teacher_train_batch_size=1)
    score, result = trainer._valid_epoch(valid)
    losses, right = [], []
    for batch in valid:
        scores, truth = trainer.model.eval().guess(batch)
        losses += F.cross_entropy(scores, truth, reduction="none").tolist()
        right += (scores.argmax(-1) == truth).tolist()
    assert len(losses) > len([*valid])  # else all batches would count equally
    assert result["tokens"] == len(losses)
    assert score == result["held_out_loss"] == pytest.approx(sum(losses) / len(losses), abs=1e-5)
    assert result["accuracy"] == pytest.approx(sum(right) / len(right), abs=1e-6)


def test_the_weights_with_the_lowest_loss_are_kept(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RecBole keeps the highest score, which is the worst loss."""
    losses = iter([3.0, 1.0, 2.0, 4.0, 5.0, 0.5])
    kept: list[dict] = []

    def validated(self, *arguments, **keywords):
        loss = next(losses)
        kept.append({n: v.detach().clone() for n, v in self.model.state_dict().items()})
        return loss, {"held_out_loss": loss}

    monkeypatch.setattr(MaskedLanguageModelTrainer, "_valid_epoch", validated)
    trainer, loaders = pretrain(
        tiny, tmp_path, pretrain_teacher_epochs=6, pretrain_teacher_max_steps=30, stopping_step=2
    )
    best = trainer.fit(*loaders)
    assert best == (1.0, {"held_out_loss": 1.0})
    assert len(kept) == 5  # three in a row without improvement end it
    saved = load_weights(Path(trainer.saved_model_file))
    assert all(torch.equal(saved[name], value) for name, value in kept[1].items())


def test_losses_and_validations_are_told_apart_in_the_curve(tiny: Tiny, tmp_path: Path) -> None:
    """Under one name the validation loss would overwrite the training loss of its step."""
    trainer, loaders = pretrain(tiny, tmp_path)
    trainer.fit(*loaders)
    trainer.tensorboard.close()
    tags = [tag.split("/")[1:] for tag in scalars(trainer.folder / "tensorboard")]
    assert ["train", "masked_loss"] in tags
    assert {name for kind, name in tags if kind == "valid"} >= {"held_out_loss", "accuracy"}
    assert ["train", "held_out_loss"] not in tags
