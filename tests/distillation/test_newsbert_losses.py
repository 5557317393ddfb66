from __future__ import annotations

from typing import Any

import numpy as np
import plain
import pytest
import torch
from torch import Tensor

from recbole_tinynews.distillation.newsbert import JointDistillation, JointWeights, Observed

BATCH, CANDIDATES, DIM, TEXTS, TOKENS, HIDDEN = 4, 5, 3, 6, 20, 8
LABEL = torch.tensor([0, 3, 1, 4])
LAYERS = (0, 1, 2)
ALL = JointWeights(user=1.0)


def observed(seed: int) -> Observed:
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        drawn = torch.randn(*shape, dtype=torch.float64, generator=generator)
        return drawn.requires_grad_()

    return Observed(
        random(BATCH, CANDIDATES),
        random(BATCH, DIM),
        np.arange(TEXTS),
        {layer: random(TOKENS, HIDDEN) for layer in LAYERS},
        random(TEXTS, HIDDEN),
    )


STUDENT, TEACHERS = 0, (1, 2, 3)


def losses(weights: JointWeights = ALL, temperature: float = 1.0, teachers=TEACHERS) -> Any:
    module = JointDistillation(temperature, weights)
    return module(observed(STUDENT), [observed(seed) for seed in teachers], LABEL)


def mse(one: Tensor, other: Tensor) -> float:
    pairs = list(zip(one.flatten().tolist(), other.flatten().tolist(), strict=True))
    return sum((a - b) ** 2 for a, b in pairs) / len(pairs)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("teachers", [(1,), TEACHERS], ids=["NewsBERT", "NewsBERTMT"])
def test_each_summand_equals_its_formula(temperature: float, teachers: tuple[int, ...]) -> None:
    """A method with the right name and other numbers."""
    found = losses(temperature=temperature, teachers=teachers)
    student, others = observed(STUDENT), [observed(seed) for seed in teachers]

    def each(term: Any) -> float:
        return plain.mean([term(teacher) for teacher in others])

    def soft(teacher: Observed) -> float:
        rows = zip(student.scores.tolist(), teacher.scores.tolist(), strict=True)
        return plain.mean([plain.soft_label(own, given, temperature) for own, given in rows])

    def target(of: Observed) -> float:
        rows = zip(of.scores.tolist(), LABEL.tolist(), strict=True)
        return plain.mean([plain.cross_entropy(scores, y) for scores, y in rows])

    assert {name: float(value.detach()) for name, value in found._asdict().items()} == {
        "distillation": pytest.approx(each(soft)),
        "hidden": pytest.approx(
            each(lambda t: sum(mse(student.hidden[i], t.hidden[i]) for i in (1, 2)))
        ),
        "embedding": pytest.approx(each(lambda t: mse(student.hidden[0], t.hidden[0]))),
        "news_vector": pytest.approx(each(lambda t: mse(student.pooled, t.pooled))),
        "user": pytest.approx(each(lambda t: mse(student.user, t.user))),
        "target": pytest.approx(target(student)),
        "teacher_target": pytest.approx(sum(target(teacher) for teacher in others)),
    }


def test_soft_labels_of_several_teachers_are_those_of_their_mean_probabilities() -> None:
    """The identity of averaged cross entropies: a mean of scores would be another target."""
    student = observed(STUDENT)
    mean = torch.stack([observed(seed).scores.softmax(-1) for seed in TEACHERS]).mean(0)
    expected = -(mean * student.scores.log_softmax(-1)).sum(-1).mean()
    torch.testing.assert_close(losses().distillation, expected)


def test_averaged_squares_pull_towards_the_mean_teacher() -> None:
    """In gradient, the mean over teachers is one comparison with their mean."""
    module = JointDistillation(1.0, ALL)
    student, teachers = observed(STUDENT), [observed(seed) for seed in TEACHERS]
    found = module(student, teachers, LABEL)
    for loss, own, theirs in (
        (found.embedding, student.hidden[0], [t.hidden[0] for t in teachers]),
        (found.news_vector, student.pooled, [t.pooled for t in teachers]),
        (found.user, student.user, [t.user for t in teachers]),
    ):
        (gradient,) = torch.autograd.grad(loss, own, retain_graph=True)
        mean = torch.stack(theirs).mean(0)
        torch.testing.assert_close(gradient, 2 * (own - mean).detach() / own.numel())


def test_teachers_alike_teach_as_one() -> None:
    one, three = losses(teachers=(1,)), losses(teachers=(1, 1, 1))
    for name in one._fields[:-1]:
        torch.testing.assert_close(getattr(one, name), getattr(three, name))
    torch.testing.assert_close(3 * one.teacher_target, three.teacher_target)


def test_a_teacher_learns_from_its_own_target_and_nothing_else() -> None:
    """A teacher that is pulled towards its student forgets what it is asked for."""
    module = JointDistillation(1.0, ALL)
    student, teachers = observed(STUDENT), [observed(seed) for seed in TEACHERS]
    found = module(student, teachers, LABEL)
    of_student = [student.scores, student.user, student.pooled, *student.hidden.values()]
    of_teachers = [
        tensor for t in teachers for tensor in (t.scores, t.user, t.pooled, *t.hidden.values())
    ]
    for name, loss in found._asdict().items():
        reached = [
            [g is not None for g in torch.autograd.grad(loss, of, None, True, allow_unused=True)]
            for of in (of_student, of_teachers)
        ]
        if name == "teacher_target":
            assert not any(reached[0])
            assert sum(reached[1]) == len(teachers)  # the scores of each
        else:
            assert any(reached[0]), name
            assert not any(reached[1]), name
    by_itself = module(student, teachers[:1], LABEL).teacher_target
    (alone,) = torch.autograd.grad(by_itself, teachers[0].scores)
    (beside_others,) = torch.autograd.grad(found.teacher_target, teachers[0].scores)
    assert torch.equal(alone, beside_others)


@pytest.mark.parametrize("name", JointWeights._fields)
def test_a_weight_multiplies_its_summand_alone_and_zero_removes_it(name: str) -> None:
    """A summand that is logged as 0 looks like one that was learnt to the end."""
    whole = losses()._asdict()
    weighted = losses(ALL._replace(**{name: 0.3}))._asdict()
    removed = losses(ALL._replace(**{name: 0.0}))._asdict()
    for each, value in whole.items():
        torch.testing.assert_close(weighted[each], value * (0.3 if each == name else 1))
    del whole[name]
    assert list(removed) == list(whole)
    assert all(torch.equal(removed[each], value) for each, value in whole.items())


def test_states_of_other_news_are_refused() -> None:
    """They have the same shape: a student would imitate the vectors of a stranger's titles."""
    student, teacher = observed(STUDENT), observed(1)
    shuffled = teacher._replace(ids=teacher.ids[::-1])
    with pytest.raises(ValueError, match="same news in the same order"):
        JointDistillation(1.0, ALL)(student, [shuffled], LABEL)


def test_without_teachers_or_without_losses_it_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 teacher"):
        JointDistillation(1.0, ALL)(observed(STUDENT), [], LABEL)
    nothing = JointWeights(*[0.0] * len(JointWeights._fields))
    with pytest.raises(ValueError, match="at least one loss of the student"):
        JointDistillation(1.0, nothing._replace(teacher_target=1.0))
