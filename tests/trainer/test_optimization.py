from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tiny import Tiny

from recbole_tinynews.trainer import optimization
from recbole_tinynews.trainer.optimization import autocast_dtype, make_schedule


def test_each_rate_reaches_its_parameters_and_no_other(tiny: Tiny) -> None:
    """A language model trained with the heads' higher rate loses what it learned before."""
    world = tiny.world(learning_rate=1e-3, plm_learning_rate=1e-5, finetune_layers=2)
    groups = world.trainer().optimizer.param_groups
    rate_of = {id(p): group["lr"] for group in groups for p in group["params"]}
    for name, parameter in world.model.named_parameters():
        expected = None
        if parameter.requires_grad:
            expected = 1e-5 if ".plm." in name else 1e-3
        assert rate_of.get(id(parameter)) == expected, name


def test_without_its_own_rate_the_language_model_has_the_plain_one(tiny: Tiny) -> None:
    groups = tiny.world(learning_rate=1e-3).trainer().optimizer.param_groups
    assert {group["lr"] for group in groups} == {1e-3}
    held = tiny.world(learning_rate=1e-3, plm_learning_rate=0).trainer().optimizer.param_groups
    assert {group["lr"] for group in held} == {1e-3, 0}


@pytest.mark.parametrize("amsgrad", [True, False])
def test_the_setting_decides_about_amsgrad(tiny: Tiny, amsgrad: bool) -> None:
    """RecBole passes Adam no such argument, and would silently ignore the setting."""
    world = tiny.world(amsgrad=amsgrad)
    trainer = world.trainer()
    trainer.fit(world.clicks())
    states = trainer.optimizer.state.values()
    assert {"max_exp_avg_sq" in state for state in states} == {amsgrad}


def test_a_learner_of_torch_gets_its_arguments_and_those_that_are_settings(tiny: Tiny) -> None:
    """RecBole knows six learners, and passes them no argument but the weight decay."""
    world = tiny.world(learner="radam", learner_args={"betas": [0.9, 0.98]}, weight_decay=0.1)
    optimizer = world.trainer().optimizer
    assert isinstance(optimizer, torch.optim.RAdam)
    for group in optimizer.param_groups:
        assert ([*group["betas"]], group["weight_decay"]) == ([0.9, 0.98], 0.1)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"learner": "adamww"}, "no such class. Did you mean AdamW"),
        ({"learner": 3}, "no such class"),
        ({"learner": "LBFGS"}, "parameter groups"),
        ({"learner": "sparse_adam"}, "dense gradients"),
        ({"learner": "Muon"}, "2D parameters"),
        (
            {"learner_args": {"betaz": [0.9, 0.98]}},
            "Adam takes betas, .*'betaz'. Did you mean betas",
        ),
        ({"learner_args": {"lr": 1.0}}, "Adam takes .* not 'lr'"),  # there is learning_rate
        ({"learner": "AdamW", "learner_args": {"betas": [0.9, 2.0]}}, "Invalid beta"),
        ({"scheduler": "StepLR"}, "step_size"),
        ({"scheduler": "OneCycleLR", "scheduler_args": {"total_steps": 9}}, "not 'total_steps'"),
        ({"scheduler": "ReduceLROnPlateau"}, "metrics"),
        ({"scheduler": "LambdaLR", "scheduler_args": {"lr_lambda": "abc"}}, "callable"),
        ({"scheduler": "CosineAnnealingLR", "warmup_steps": 3}, "warmup_steps=3 is a schedule too"),
        ({"scheduler_args": {"gamma": 0.5}}, "no such class"),
        ({"finetune_teacher_learner": "adamww"}, "no such class. Did you mean AdamW"),
    ],
)
def test_what_cannot_train_is_refused_before_any_stage(
    tiny: Tiny, settings: dict, reason: str
) -> None:
    """Teachers would be trained for hours before a mistake in the last stage's settings shows."""
    setting = next(iter(settings)).removesuffix("_args")
    with pytest.raises(ValueError, match=rf"- {setting} expects a class of torch.optim.*{reason}"):
        tiny.config("TinyNewsRec", **settings)


def rates(warmup_steps: int | None, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    config = {"warmup_steps": warmup_steps, "scheduler": None, "scheduler_args": {}}
    schedule = make_schedule(optimizer, config, steps)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


def test_rates_rise_for_the_warm_up_and_then_fall_to_nothing() -> None:
    """An off-by-one error would start at the full rate, or end above 0."""
    assert rates(2, 6) == pytest.approx([0.0, 1.0, 2.0, 1.5, 1.0, 0.5])
    assert rates(0, 4) == pytest.approx([2.0, 1.5, 1.0, 0.5])
    assert rates(None, 5) == [2.0] * 5  # no warm-up is set


def test_a_scheduler_is_as_long_as_the_training_and_moves_with_each_step(tiny: Tiny) -> None:
    """If it were counted in epochs or batches, the rate would still be high at the last step."""
    given = {"accumulation_steps": 2, "epochs": 4, "max_steps": 4, "learning_rate": 1e-3}
    world = tiny.world(scheduler="CosineAnnealingLR", **given)
    trainer, seen = world.trainer(), []
    plain = trainer.after_step

    def after_step(*step: Any) -> None:
        seen.append(trainer.optimizer.param_groups[0]["lr"])
        plain(*step)

    trainer.after_step = after_step
    trainer.fit(world.clicks())
    assert seen == pytest.approx([5e-4 * (1 + math.cos(math.pi * n / 4)) for n in (1, 2, 3, 4)])


def test_precision_chooses_a_type_that_the_device_supports() -> None:
    cpu = torch.device("cpu")
    assert autocast_dtype("fp32", cpu) is None
    assert autocast_dtype("bf16", cpu) is torch.bfloat16
    assert autocast_dtype("fp16", cpu) is torch.float16
    assert autocast_dtype("auto", cpu) in (None, torch.bfloat16)


@pytest.mark.parametrize(("native", "warnings"), [(False, 1), (True, 0)])
def test_bf16_where_it_is_slow_is_answered_by_a_warning(
    monkeypatch, caplog, native: bool, warnings: int
) -> None:
    """A day of training would become a month, without a word."""
    monkeypatch.setattr(optimization, "has_bf16_products", lambda device: native)
    autocast_dtype("bf16", torch.device("cpu"))
    autocast_dtype("auto", torch.device("cpu"))
    assert len(caplog.records) == warnings
