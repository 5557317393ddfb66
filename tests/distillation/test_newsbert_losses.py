from __future__ import annotations

from typing import Any

import numpy as np
import plain_losses as plain
import pytest
import torch
from batches import outputs_of, with_states
from torch import Tensor

from recbole_tinynews.distillation.layer_losses import Compared, LayerPair
from recbole_tinynews.distillation.newsbert_losses import NewsBERTDistillation, NewsBERTWeights
from recbole_tinynews.encoder.hidden_states import HiddenStates, StateRequest
from recbole_tinynews.model.interface import Outputs

BATCH, CANDIDATES, DIM, TEXTS, TOKENS, HIDDEN = 4, 5, 3, 6, 20, 8
LABEL = torch.tensor([0, 3, 1, 4])
PAIRS = [LayerPair(1, 2), LayerPair(2, 4)]
STUDENT_LAYERS, TEACHER_LAYERS = (0, 1, 2), (0, 2, 4)
ALL = NewsBERTWeights(user=1.0)


def outputs(seed: int) -> Outputs:
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        drawn = torch.randn(*shape, dtype=torch.float64, generator=generator)
        return drawn.requires_grad_()

    scores, user = random(BATCH, CANDIDATES), random(BATCH, DIM)
    layers = TEACHER_LAYERS if seed else STUDENT_LAYERS
    hidden = {layer: random(TOKENS, HIDDEN) for layer in layers}
    states = HiddenStates(np.arange(TEXTS), hidden, {}, random(TEXTS, HIDDEN), torch.empty(0))
    return outputs_of(scores, user=user, states=states)


def make(
    weights: NewsBERTWeights = ALL,
    temperature: float = 1.0,
    teachers: int = 3,
    pairs: Any = PAIRS,
    embeddings_train: bool = True,
) -> NewsBERTDistillation:
    compared = Compared(pairs, embeddings_train, HIDDEN, HIDDEN)
    return NewsBERTDistillation(teachers, compared, temperature, weights)


STUDENT, TEACHERS = 0, (1, 2, 3)


def losses(weights: NewsBERTWeights = ALL, temperature: float = 1.0, teachers=TEACHERS) -> Any:
    module = make(weights, temperature, len(teachers))
    return module(outputs(STUDENT), [outputs(seed) for seed in teachers], LABEL)


def mse(one: Tensor, other: Tensor) -> float:
    pairs = list(zip(one.flatten().tolist(), other.flatten().tolist(), strict=True))
    return sum((a - b) ** 2 for a, b in pairs) / len(pairs)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("teachers", [(1,), TEACHERS], ids=["NewsBERT", "NewsBERTMT"])
def test_each_loss_term_equals_its_formula(temperature: float, teachers: tuple[int, ...]) -> None:
    """A wrong formula would be another method under the same name."""
    found = losses(temperature=temperature, teachers=teachers)
    student, others = outputs(STUDENT), [outputs(seed) for seed in teachers]

    def each(term: Any) -> float:
        return plain.mean([term(teacher) for teacher in others])

    def soft(teacher: Outputs) -> float:
        rows = zip(student.scores.tolist(), teacher.scores.tolist(), strict=True)
        return plain.mean([plain.soft_label(own, given, temperature) for own, given in rows])

    def target(of: Outputs) -> float:
        rows = zip(of.scores.tolist(), LABEL.tolist(), strict=True)
        return plain.mean([plain.cross_entropy(scores, y) for scores, y in rows])

    hidden = student.states.hidden
    assert {name: float(value.detach()) for name, value in found._asdict().items()} == {
        "distillation": pytest.approx(each(soft)),
        "hidden": pytest.approx(
            each(lambda t: sum(mse(hidden[i], t.states.hidden[j]) for i, j in PAIRS))
        ),
        "embedding": pytest.approx(each(lambda t: mse(hidden[0], t.states.hidden[0]))),
        "news_vector": pytest.approx(each(lambda t: mse(student.states.pooled, t.states.pooled))),
        "user": pytest.approx(each(lambda t: mse(student.user, t.user))),
        "target": pytest.approx(target(student)),
        "teacher_target": pytest.approx(sum(target(teacher) for teacher in others)),
    }


def test_soft_labels_of_several_teachers_are_those_of_their_mean_probabilities() -> None:
    """The identity of averaged cross entropies: a mean of scores would be another target."""
    student = outputs(STUDENT)
    mean = torch.stack([outputs(seed).scores.softmax(-1) for seed in TEACHERS]).mean(0)
    expected = -(mean * student.scores.log_softmax(-1)).sum(-1).mean()
    torch.testing.assert_close(losses().distillation, expected)


def test_averaged_squares_pull_towards_the_mean_teacher() -> None:
    """The gradient of the mean over teachers is that of one comparison with their mean."""
    module = make()
    student, teachers = outputs(STUDENT), [outputs(seed) for seed in TEACHERS]
    found = module(student, teachers, LABEL)
    own_states = student.states
    for loss, own, theirs in (
        (found.embedding, own_states.hidden[0], [t.states.hidden[0] for t in teachers]),
        (found.news_vector, own_states.pooled, [t.states.pooled for t in teachers]),
        (found.user, student.user, [t.user for t in teachers]),
    ):
        (gradient,) = torch.autograd.grad(loss, own, retain_graph=True)
        mean = torch.stack(theirs).mean(0)
        torch.testing.assert_close(gradient, 2 * (own - mean).detach() / own.numel())


def test_equal_teachers_teach_as_one() -> None:
    one, three = losses(teachers=(1,)), losses(teachers=(1, 1, 1))
    for name in one._fields[:-1]:
        torch.testing.assert_close(getattr(one, name), getattr(three, name))
    torch.testing.assert_close(3 * one.teacher_target, three.teacher_target)


def learning(of: Outputs) -> list[Tensor]:
    return [of.scores, of.user, of.states.pooled, *of.states.hidden.values()]


def test_a_teacher_learns_from_its_own_target_and_nothing_else() -> None:
    """A teacher that is pulled towards its student would get worse at its own task."""
    module = make()
    student, teachers = outputs(STUDENT), [outputs(seed) for seed in TEACHERS]
    found = module(student, teachers, LABEL)
    of_student = learning(student)
    of_teachers = [tensor for teacher in teachers for tensor in learning(teacher)]
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
    by_itself = make(teachers=1)(student, teachers[:1], LABEL).teacher_target
    (alone,) = torch.autograd.grad(by_itself, teachers[0].scores)
    (beside_others,) = torch.autograd.grad(found.teacher_target, teachers[0].scores)
    assert torch.equal(alone, beside_others)


@pytest.mark.parametrize("name", NewsBERTWeights._fields)
def test_a_weight_multiplies_its_loss_term_alone_and_zero_removes_it(name: str) -> None:
    """A term that is logged as 0 looks as if it had been learned perfectly."""
    whole = losses()._asdict()
    weighted = losses(ALL._replace(**{name: 0.3}))._asdict()
    removed = losses(ALL._replace(**{name: 0.0}))._asdict()
    for each, value in whole.items():
        torch.testing.assert_close(weighted[each], value * (0.3 if each == name else 1))
    del whole[name]
    assert list(removed) == list(whole)
    assert all(torch.equal(removed[each], value) for each, value in whole.items())


def test_states_of_other_news_are_refused() -> None:
    """They have the same shape: a student would imitate the vectors of other titles."""
    student, teacher = outputs(STUDENT), outputs(1)
    shuffled = with_states(teacher, teacher.states._replace(ids=teacher.states.ids[::-1]))
    with pytest.raises(ValueError, match=r"the same 6 texts .* teacher 0"):
        make(teachers=1)(student, [shuffled], LABEL)


def test_without_teachers_or_without_losses_it_is_refused() -> None:
    with pytest.raises(ValueError, match="labelled by 1 teachers, got 0"):
        make(teachers=1)(outputs(STUDENT), [], LABEL)
    nothing = NewsBERTWeights(*[0.0] * len(NewsBERTWeights._fields))
    with pytest.raises(ValueError, match="at least one loss whose weight is not 0"):
        make(nothing._replace(teacher_target=1.0))


@pytest.mark.parametrize(
    ("weights", "asked"),
    [
        (ALL, StateRequest(frozenset({0, 2, 4}), pooled=True)),
        (ALL._replace(news_vector=0.0), StateRequest(frozenset({0, 2, 4}))),
        (ALL._replace(hidden=0.0, embedding=0.0), StateRequest(pooled=True)),
        (ALL._replace(hidden=0.0, embedding=0.0, news_vector=0.0), StateRequest()),
    ],
)
def test_a_loss_of_weight_zero_asks_for_no_states(
    weights: NewsBERTWeights, asked: StateRequest
) -> None:
    """Teachers' states would be computed without need, or be missing where they are compared."""
    assert make(weights).teacher_states == asked


def test_a_term_without_trained_parameters_is_left_out() -> None:
    """A constant in the sum looks like a loss that does not learn."""
    module = make(pairs=[], embeddings_train=False, teachers=1)
    found = module(outputs(STUDENT), [outputs(1)], LABEL)
    assert {"hidden", "embedding"}.isdisjoint(found._fields)
    assert module.teacher_states == StateRequest(pooled=True)
