from __future__ import annotations

import pytest
import torch
from tiny import Tiny

from recbole_tinynews.trainer import DistillationTrainer


def test_a_student_without_teachers_is_refused_before_its_first_step(tiny: Tiny) -> None:
    world = tiny.world("TinyNewsRec")
    trainer = DistillationTrainer(world.config, world.model)
    with pytest.raises(ValueError, match=r"expects its teachers.*trainer.teachers"):
        trainer.fit(world.clicks())
    assert trainer.step == 0


def test_an_unlabelled_batch_is_refused(tiny: Tiny) -> None:
    """The fallback would be a student that learns from clicks alone, and is called distilled."""
    world = tiny.world("TinyNewsRec")
    batch = world.clicks().collate_fn([0, 1])
    with pytest.raises(ValueError, match=r"without teacher_scores.*DistillationTrainer"):
        world.model.calculate_loss(batch)


def test_labels_are_what_each_teacher_says(tiny: Tiny) -> None:
    """Two axes of the same size can be swapped without an error."""
    world = tiny.world("TinyNewsRec", num_teachers=3)
    trainer = world.trainer()
    batch = trainer.label(world.clicks().collate_fn([0, 1, 2, 3]))
    assert batch["teacher_scores"].shape == (4, 3, 4)
    for number in range(3):
        news, user = (
            modules[number]
            for modules in (trainer.teachers.news_encoders, trainer.teachers.user_encoders)
        )
        with torch.no_grad():
            history, candidates = news(batch["history"]), news(batch["candidates"])
            users = user(history, batch["history"] != 0)
        scores = (candidates * users[:, None]).sum(-1)
        torch.testing.assert_close(batch["teacher_scores"][:, number], scores)
        torch.testing.assert_close(batch["teacher_history"][:, number], history)
        torch.testing.assert_close(batch["teacher_candidates"][:, number], candidates)
        torch.testing.assert_close(batch["teacher_user"][:, number], users)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_changes_the_student_and_no_teacher(tiny: Tiny, precision: str) -> None:
    """A teacher in training mode has dropout; one in the optimizer forgets what it knew."""
    world = tiny.world("TinyNewsRec", precision=precision, plm_dropout=0.3)
    trainer = world.trainer()
    teachers = {n: p.clone() for n, p in trainer.teachers.named_parameters()}
    student = {n: p.detach().clone() for n, p in world.model.named_parameters()}
    first = trainer.label(world.clicks().collate_fn([0, 1]))["teacher_scores"]
    trainer.fit(world.clicks())
    assert trainer.step == 3
    for name, parameter in trainer.teachers.named_parameters():
        assert torch.equal(parameter, teachers[name])
        assert parameter.grad is None
    again = trainer.label(world.clicks().collate_fn([0, 1]))["teacher_scores"]
    assert torch.equal(again, first)
    assert again.dtype == torch.float32
    changed = {n for n, p in world.model.named_parameters() if not torch.equal(p, student[n])}
    assert {n.split(".")[0] for n in changed} == {"news_encoder", "user_encoder", "distillation"}


def test_a_students_weights_hold_no_teacher(tiny: Tiny) -> None:
    """A checkpoint with four large teachers in it is not a small model."""
    world = tiny.world("TinyNewsRec")
    trainer = world.trainer()
    trainer.fit(world.clicks())
    rooms = {name.split(".")[0] for name in world.model.state_dict()}
    assert rooms == {"news_encoder", "user_encoder", "distillation"}
    assert world.model.parameter_count == tiny.world("PLMNR").model.parameter_count
