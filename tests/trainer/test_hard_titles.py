from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny import Tiny, run_of

from recbole_tinynews.data.fields import CANDIDATES, HISTORY, TEACHERS
from recbole_tinynews.data.title_body import HARD_POOL, TitleBodyDataLoader
from recbole_tinynews.distillation.teachers import FrozenTeachers
from recbole_tinynews.model.stages.title_body import TitleBodyMatcher, TitleBodyStudent
from recbole_tinynews.trainer import DistillationTrainer, find_trainer
from recbole_tinynews.trainer.post_training import hardest


@pytest.fixture
def hard(tiny: Tiny):
    def make(
        model_class: type = TitleBodyMatcher, teachers: Any = None, **settings: Any
    ) -> tuple[Any, TitleBodyDataLoader]:
        config = tiny.config("TinyNewsRec", negative_titles="hard", **settings)
        staged = config.for_stage("post_train_teacher")
        data = run_of(config).factory.data(TitleBodyMatcher, staged)
        torch.manual_seed(0)
        of_student = () if teachers is None else (teachers,)
        trainer = find_trainer(model_class)(staged, model_class(staged, data), *of_student)
        return trainer, TitleBodyDataLoader(staged, data)

    return make


def slowly(scores: list[float], titles: list[int], count: int) -> list[int]:
    """Repeatedly take the highest-scored title that was not taken yet."""
    taken, left = [], list(range(1, len(titles)))
    while len(taken) < count:
        fresh = [p for p in left if titles[p] not in [titles[t] for t in taken]]
        best = max(fresh, key=lambda p: (scores[p], -p)) if fresh else min(left)
        taken.append(best)
        left.remove(best)
    return [0, *taken]


@pytest.mark.parametrize("count", [1, 3, 8])
def test_the_hardest_titles_equal_a_plain_selection(count: int) -> None:
    """The lowest-scored ones, or one title many times, would teach nothing."""
    generator = torch.Generator().manual_seed(1)
    titles = torch.randint(1, 30, (50, 12), generator=generator)
    titles[:, 0] = 99
    by_title = torch.randn(100, generator=generator).round(decimals=1)  # some tie
    scores = by_title[titles]
    enough = [row for row in range(50) if len(set(titles[row, 1:].tolist())) >= count]
    assert len(enough) > 5
    found = hardest(scores, titles, count)
    assert found.shape == (50, 1 + count)
    for row in enough:
        assert found[row].tolist() == slowly(scores[row].tolist(), titles[row].tolist(), count)


def test_too_few_titles_repeat_and_never_become_the_own_one() -> None:
    """The right title stays at place 0, where label and teachers expect it."""
    titles = torch.tensor([[7, 1, 1, 1, 2]])
    found = hardest(torch.tensor([[9.0, 1, 1, 1, 2]]), titles, 4)
    assert titles.gather(1, found).tolist() == [[7, 2, 1, 1, 1]]


def test_a_trainer_keeps_the_wrong_titles_that_its_model_scores_highest(hard) -> None:
    trainer, loader = hard()
    trainer.model.train()
    batch = loader.collate_fn([0, 1, 2])
    pool = batch[CANDIDATES].clone()
    assert pool.shape == (3, 1 + HARD_POOL * 3)
    kept = trainer.prepare(batch)[CANDIDATES]
    body, titles = trainer.model.encode_news(batch[HISTORY]), trainer.model.encode_news(pool)
    scores = (titles @ body[:, 0, :, None])[..., 0].tolist()
    for row in range(3):
        by_title = dict(zip(pool[row, 1:].tolist(), scores[row][1:], strict=True))
        best = sorted(by_title, key=by_title.__getitem__, reverse=True)[:3]
        assert kept[row].tolist() == [pool[row, 0].item(), *best]


def test_choosing_leaves_no_trace_in_the_training(hard) -> None:
    """Dropout would add chance, a gradient would include the pool, and eval mode could remain."""
    trainer, loader = hard(plm_dropout=0.5)
    model = trainer.model
    model.train()
    modes = [module.training for module in model.modules()]
    numbers = torch.get_rng_state()
    batch = loader.collate_fn([0, 1, 2])
    one, other = (model.present_scores(batch) for _ in range(2))
    assert torch.equal(one, other)
    assert not one.requires_grad
    assert torch.equal(torch.get_rng_state(), numbers)
    assert [module.training for module in model.modules()] == modes
    assert any(modes[1:])


def test_other_kinds_of_titles_are_left_as_they_are(hard) -> None:
    trainer, loader = hard(post_train_teacher_negative_titles="random")
    batch = loader.collate_fn([0, 1, 2])
    shown = batch[CANDIDATES].clone()
    assert torch.equal(trainer.prepare(batch)[CANDIDATES], shown)


def test_teachers_label_the_titles_that_were_chosen(hard) -> None:
    """With scores of the whole pool, a student would learn labels of other titles."""
    teacher, _ = hard()
    teachers = FrozenTeachers([teacher.model, teacher.model])
    trainer, loader = hard(TitleBodyStudent, teachers)
    assert isinstance(trainer, DistillationTrainer)
    trainer.model.train()
    batch = trainer.prepare(loader.collate_fn([0, 1, 2]))
    assert batch[CANDIDATES].shape == (3, 4)
    expected = teachers.outputs(batch)
    assert expected[0].scores.shape == (3, 4)
    torch.testing.assert_close(batch[TEACHERS][1].scores, expected[1].scores)
