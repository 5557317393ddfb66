from __future__ import annotations

import os
import subprocess
import sys
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


@pytest.mark.parametrize("learner", ["adamww", "sparse_adam", 3])
def test_what_cannot_train_is_refused_before_any_stage(tiny: Tiny, learner: Any) -> None:
    """RecBole would train with Adam, or teachers for hours before the last stage fails."""
    for setting in ("learner", "finetune_teacher_learner"):
        with pytest.raises(ValueError, match=rf"- {setting} .*expects one of adam, adamw, sgd"):
            tiny.config("TinyNewsRec", **{setting: learner})


@pytest.mark.parametrize("learner", ["AdamW", "sgd", "adagrad", "rmsprop"])
def test_other_learners_have_both_rates_and_the_weight_decay(tiny: Tiny, learner: str) -> None:
    world = tiny.world(learner=learner, weight_decay=0.1, plm_learning_rate=1e-5, learning_rate=0.1)
    trainer = world.trainer()
    trainer.fit(world.clicks())
    groups = trainer.optimizer.param_groups
    assert type(trainer.optimizer).__name__.lower() == learner.lower()
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(0.1, 0.1), (1e-5, 0.1)]


def rates(warmup_steps: int | None, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = make_schedule(optimizer, warmup_steps, steps)
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


def test_the_decay_is_as_long_as_the_training_and_moves_with_each_step(tiny: Tiny) -> None:
    """If it were counted in epochs or batches, the rate would still be high at the last step."""
    given = {"accumulation_steps": 2, "epochs": 4, "max_steps": 4, "learning_rate": 1e-3}
    world = tiny.world(warmup_steps=0, **given)
    trainer, seen = world.trainer(), []
    plain = trainer.after_step

    def after_step(*step: Any) -> None:
        seen.append(trainer.optimizer.param_groups[0]["lr"])
        plain(*step)

    trainer.after_step = after_step
    trainer.fit(world.clicks())
    assert seen == pytest.approx([7.5e-4, 5e-4, 2.5e-4, 0.0])


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


PROGRAM = """
import resource, torch
from recbole_tinynews.trainer.optimization import keep_freed_memory
keep_freed_memory()
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        [torch.ones(4 << 20) for _ in range(6)]  # 16 MB each
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.whole
@pytest.mark.skipif(sys.platform != "linux", reason="glibc's memory")
def test_a_step_does_not_wait_for_new_pages() -> None:
    """Trainings spent a tenth of their time in the kernel, which zeroed what it had just got."""
    program = [sys.executable, "-c", PROGRAM]
    of_user = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "131072"}  # which is kept
    own, kept = (int(subprocess.check_output(program, env=e)) for e in (None, of_user))
    assert own < 1000 < kept
