from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import Tiny, World
from torch import Tensor

from recbole_tinynews.files.tensors import load_weights
from recbole_tinynews.trainer import JointTrainer
from recbole_tinynews.trainer.optimization import make_schedule

MODELS = ["NewsBERT", "NewsBERTMT"]
OF_SCORES = {"hidden_loss_weight": 0, "embedding_loss_weight": 0, "news_vector_loss_weight": 0}


def weights(trainer: Any) -> dict[str, Tensor]:
    return {n: p.detach().clone() for n, p in trainer.learners.named_parameters()}


def trained(world: World) -> Any:
    trainer = world.trainer()
    trainer.learners.double()
    torch.manual_seed(0)
    trainer.fit(world.clicks())
    return trainer


@pytest.mark.parametrize("model", MODELS)
def test_everything_that_trains_is_optimised_once(tiny: Tiny, model: str) -> None:
    """The reference code leaves the shared heads out, so its user encoder stays random.

    If a shared head were in the optimizer twice, it would take two steps at once.
    """
    world = tiny.world(model, learning_rate=1e-3, plm_learning_rate=1e-5)
    trainer = world.trainer()
    rates = [(p, group["lr"]) for group in trainer.optimizer.param_groups for p in group["params"]]
    assert len({id(p) for p, _ in rates}) == len(rates)
    rate_of = {id(p): rate for p, rate in rates}
    teachers = trainer.teachers.members
    assert len(teachers) == {"NewsBERT": 1, "NewsBERTMT": 2}[model]
    named = [world.model, *teachers]
    for recommender in named:
        for name, parameter in recommender.named_parameters():
            expected = None
            if parameter.requires_grad:
                expected = 1e-5 if ".plm." in name else 1e-3
            assert rate_of.pop(id(parameter), expected) == expected, name
    assert rate_of == {}


@pytest.mark.parametrize(
    ("model", "precision"),
    [*(("NewsBERT", precision) for precision in ("bf16", "fp16")), ("NewsBERTMT", "fp32")],
)
def test_teachers_heads_and_student_all_train(tiny: Tiny, model: str, precision: str) -> None:
    """In the log, a part that does not train looks like any other."""
    world = tiny.world(model, precision=precision, plm_dropout=0.3, finetune_layers=1)
    trainer = world.trainer()
    before = weights(trainer)
    trainer.fit(world.clicks())
    assert trainer.step == 3
    named = dict(trainer.learners.named_parameters())
    changed = {name for name, p in named.items() if not torch.equal(p, before[name])}
    # no score depends on these biases, and with so few clicks all may have a history
    maybe = ("self.key.bias", "pooling.query.bias", "user_encoder.pad_doc")
    assert {name for name, p in named.items() if p.requires_grad != (name in changed)} <= {
        name for name in named if name.endswith(maybe)
    }
    assert all(parameter.isfinite().all() for parameter in trainer.learners.parameters())


def test_a_teacher_trains_with_dropout_and_a_validation_leaves_it_so(tiny: Tiny) -> None:
    """`model.train()` does not reach the teachers, which the trainer holds."""
    world = tiny.world("NewsBERT", plm_dropout=0.4, epochs=2, max_steps=None)
    trainer = world.trainer()
    modes: list[bool] = []
    plain = trainer.teachers.outputs

    def outputs(*arguments: Any) -> Any:
        modes.append(trainer.teachers.members[0].news_encoder.training)
        return plain(*arguments)

    trainer.teachers.eval()
    trainer.teachers.outputs = outputs
    trainer.fit(world.clicks(), world.impressions())
    assert len(modes) == trainer.step
    assert all(modes)


def test_momentum_takes_the_gradient_of_a_whole_step(tiny: Tiny) -> None:
    """Added after each batch of an accumulated step, it would count the first batches repeatedly.

    Only losses on scores are used: others are means over the distinct articles of a batch.
    """
    settings = {**OF_SCORES, "gradient_momentum": 0.5, "epochs": 2, "max_steps": None}
    trainers = [
        trained(tiny.world("NewsBERT", train_batch_size=size, accumulation_steps=count, **settings))
        for size, count in ((16, 1), (4, 4))
    ]
    one, other = map(weights, trainers)
    assert trainers[0].step == trainers[1].step > 2
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=1e-9, atol=1e-9)


def test_momentum_is_added_before_gradients_are_clipped(tiny: Tiny) -> None:
    """Clipping first would change the step's length; unscaling later would change the mixture.

    SGD with learning rate 1 shows the gradient as the change of the weights.
    """
    world = tiny.world(
        "NewsBERT", learner="sgd", learning_rate=1.0, clip_grad_norm=0.01, gradient_momentum=0.5
    )
    trainer = world.trainer()
    trainer.learners.double().train()
    trainer.schedule = make_schedule(trainer.optimizer, None, 1)
    trainer._backward(world.clicks().collate_fn(range(8)), world.model.calculate_loss, 1.0)
    before = weights(trainer)
    given = {
        n: p.grad.clone() for n, p in trainer.learners.named_parameters() if p.grad is not None
    }
    trainer._update()
    taken = {name: before[name] - p.detach() for name, p in trainer.learners.named_parameters()}
    length = torch.cat([step.flatten() for step in taken.values()]).norm()
    assert length.item() == pytest.approx(0.01, rel=1e-3)

    student = "student.news_encoder.text_encoder.plm."
    teacher = "teachers.members.0.news_encoder.text_encoder.plm."
    weight = "attention.self.value.weight"
    own, lent = f"{student}encoder.layer.1.{weight}", f"{teacher}encoder.layer.2.{weight}"
    bent = (given[own] + given[lent]) / 2
    scale = taken[lent].norm() / given[lent].norm()
    torch.testing.assert_close(taken[own], bent * scale, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("model", MODELS)
def test_validation_and_saved_weights_are_the_students(tiny: Tiny, model: str) -> None:
    """Early stopping by a teacher's metric could keep the student's worst epoch."""
    world = tiny.world(model, epochs=2, max_steps=None)
    trainer = world.trainer()
    result = trainer.fit(world.clicks(), world.impressions())[1]
    again = JointTrainer(world.config, world.model)  # it has no teachers
    found = again.evaluate(world.impressions(), model_file=trainer.saved_model_file)
    assert {name: pytest.approx(value) for name, value in found.items()} == dict(result)
    saved = load_weights(Path(trainer.saved_model_file))
    assert saved.keys() == tiny.world("PLMNR").model.state_dict().keys()
