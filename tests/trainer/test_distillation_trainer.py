from __future__ import annotations

import pytest
import torch
from tiny import Tiny

from recbole_tinynews.data.fields import TEACHERS
from recbole_tinynews.trainer import DistillationTrainer


def test_a_student_without_teachers_is_refused_before_its_first_step(tiny: Tiny) -> None:
    world = tiny.world("TinyNewsRec")
    trainer = DistillationTrainer(world.config, world.model)
    with pytest.raises(ValueError, match=r"expects teachers to train with, got none"):
        trainer.fit(world.clicks())
    assert trainer.step == 0


def test_an_unlabelled_batch_is_refused(tiny: Tiny) -> None:
    """The student would silently learn from clicks alone, without distillation."""
    world = tiny.world("TinyNewsRec")
    batch = world.clicks().collate_fn([0, 1])
    with pytest.raises(ValueError, match=r"got one without. Train it with DistillationTrainer"):
        world.model.calculate_loss(batch)


def test_labels_are_each_teachers_outputs(tiny: Tiny) -> None:
    """Two axes of the same size can be swapped without an error."""
    world = tiny.world("TinyNewsRec", num_teachers=3)
    trainer = world.trainer()
    batch = trainer.prepare(world.clicks().collate_fn([0, 1, 2, 3]))
    assert len(batch[TEACHERS]) == 3
    for teacher, outputs in zip(trainer.teachers.members, batch[TEACHERS], strict=True):
        with torch.no_grad():
            history, candidates = (
                teacher.news_encoder(batch[n]) for n in ("history", "candidates")
            )
            users = teacher.user_encoder(history, batch["history"] != 0)
        scores = (candidates * users[:, None]).sum(-1)
        found = outputs.scores, outputs.news.candidates, outputs.news.history, outputs.user
        torch.testing.assert_close(found, (scores, candidates, history, users))
        assert outputs.news.states is None


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_changes_the_student_and_no_teacher(tiny: Tiny, precision: str) -> None:
    """In training mode a teacher has dropout; in the optimizer its weights would change."""
    world = tiny.world("TinyNewsRec", precision=precision, plm_dropout=0.3)
    trainer = world.trainer()
    teachers = {n: p.clone() for n, p in trainer.teachers.named_parameters()}
    student = {n: p.detach().clone() for n, p in world.model.named_parameters()}
    first = trainer.prepare(world.clicks().collate_fn([0, 1]))[TEACHERS][0].scores
    trainer.fit(world.clicks())
    assert trainer.step == 3
    for name, parameter in trainer.teachers.named_parameters():
        assert torch.equal(parameter, teachers[name])
        assert parameter.grad is None
    again = trainer.prepare(world.clicks().collate_fn([0, 1]))[TEACHERS][0].scores
    assert torch.equal(again, first)
    assert again.dtype == torch.float32
    changed = {n for n, p in world.model.named_parameters() if not torch.equal(p, student[n])}
    assert {n.split(".")[0] for n in changed} == {"news_encoder", "user_encoder", "distillation"}
