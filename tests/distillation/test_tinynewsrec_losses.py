from __future__ import annotations

import plain
import pytest
import torch
from torch import Tensor, nn

from recbole_tinynews.distillation.tinynewsrec import (
    Lesson,
    MultiTeacherDistillation,
    MultiTeacherWeights,
)

SUMMANDS = ("distillation", "embedding", "target")
BATCH, TEACHERS, CANDIDATES, ITEMS, TEACHER_DIM, DIM = 4, 3, 5, 7, 6, 2
MASK = torch.tensor(
    [[1] * 7, [0, 0, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1, 1], [0] * 2 + [1] * 5]
).bool()


def random(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def lessons() -> tuple[Lesson, Lesson, Tensor]:
    """Student's, teachers', label."""
    student = Lesson(
        random(BATCH, CANDIDATES, seed=1),
        random(BATCH, ITEMS, DIM, seed=2),
        random(BATCH, DIM, seed=3),
    )
    teachers = Lesson(
        2 * random(BATCH, TEACHERS, CANDIDATES, seed=4),
        random(BATCH, TEACHERS, ITEMS, TEACHER_DIM, seed=5),
        random(BATCH, TEACHERS, TEACHER_DIM, seed=6),
    )
    return student, teachers, torch.tensor([0, 3, 1, 4])


def make(
    temperature: float = 1.0, shared_projection: bool = False, **weights: float
) -> MultiTeacherDistillation:
    torch.manual_seed(0)
    module = MultiTeacherDistillation(
        TEACHERS, TEACHER_DIM, DIM, temperature, MultiTeacherWeights(**weights), shared_projection
    ).double()
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter)
    return module


def projections(module: nn.Module) -> list[tuple[list, list]]:
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    return [(layer.weight.tolist(), layer.bias.tolist()) for layer in layers]


def by_the_formulas(
    module: MultiTeacherDistillation, temperature: float, mask: Tensor | None
) -> tuple[Tensor, ...]:
    student, teachers, label = lessons()
    losses: list[tuple[float, float, float]] = []
    for row in range(BATCH):
        y, scores = int(label[row]), teachers.scores[row].tolist()
        weights = plain.weights(scores, y)
        own_scores = student.scores[row].tolist()
        distillation = plain.soft_label(own_scores, plain.mixed(scores, weights), temperature)
        of_items = plain.embedding(
            student.items[row].tolist(),
            teachers.items[row].tolist(),
            weights,
            projections(module.item_embedding),
            None if mask is None else mask[row].tolist(),
        )
        of_users = plain.embedding(
            [student.user[row].tolist()],
            [[vector] for vector in teachers.user[row].tolist()],
            weights,
            projections(module.user_embedding),
        )
        losses.append((distillation, of_items + of_users, plain.cross_entropy(own_scores, y)))
    return tuple(torch.tensor(plain.mean(part)) for part in zip(*losses, strict=True))


def values(loss: tuple[Tensor, ...]) -> list[float]:
    return [float(part.detach()) for part in loss]


@pytest.mark.parametrize("mask", [None, MASK], ids=["no mask", "mask"])
@pytest.mark.parametrize("shared", [False, True], ids=["separate", "shared"])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_each_summand_equals_the_papers_formula(
    temperature: float, shared: bool, mask: Tensor | None
) -> None:
    """A method with the right name and other numbers."""
    module = make(temperature=temperature, shared_projection=shared)
    expected = by_the_formulas(module, temperature, mask)
    assert values(module(*lessons(), mask)) == pytest.approx(values(expected), rel=1e-6)


def test_weights_multiply_their_summand_alone() -> None:
    """RecBole adds the summands up as they are: a weight outside of them is lost."""
    plain_sum = values(make()(*lessons(), MASK))
    weighted = make(distillation=0.5, embedding=3.0, target=0.2)
    found = values(weighted(*lessons(), MASK))
    factors = [0.5, 3.0, 0.2]
    assert found == pytest.approx([f * v for f, v in zip(factors, plain_sum, strict=True)])


@pytest.mark.parametrize("removed", SUMMANDS)
def test_a_weight_of_zero_removes_a_summand_and_its_work(removed: str) -> None:
    """The ablations of the paper; projections without gradient would count as parameters.

    A summand that is logged as 0 looks like one that was learnt to the end.
    """
    module = make(**{removed: 0})
    student, teachers, label = lessons()
    for tensor in student:
        tensor.requires_grad_()
    loss = module(student, teachers, label)
    assert loss._fields == tuple(name for name in SUMMANDS if name != removed)
    whole = make()(*lessons())
    for name, value in zip(loss._fields, loss, strict=True):
        assert value.item() == pytest.approx(getattr(whole, name).item())
    sum(loss).backward()
    assert (student.items.grad is None) == (removed == "embedding")
    assert (len(list(module.parameters())) == 0) == (removed == "embedding")


def test_without_any_summand_it_is_refused() -> None:
    """Otherwise the first backward fails, after the teachers were trained."""
    with pytest.raises(ValueError, match="at least one loss whose weight is not 0"):
        make(distillation=0, embedding=0, target=0)


@pytest.mark.parametrize(
    ("shared", "parameters"), [(True, 263_168), (False, 526_336)], ids=["shared", "separate"]
)
def test_projections_have_the_papers_number_of_parameters(shared: bool, parameters: int) -> None:
    """M = 4, 256 -> 256: one projection for each teacher, or one for news and one for users."""
    module = MultiTeacherDistillation(4, 256, 256, 1.0, MultiTeacherWeights(), shared)
    assert sum(parameter.numel() for parameter in module.parameters()) == parameters


@pytest.mark.parametrize("shared", [False, True])
def test_student_and_projections_learn_and_teachers_do_not(shared: bool) -> None:
    """A gradient into a label would train the teachers towards the student."""
    module = make(shared_projection=shared)
    student, teachers, label = lessons()
    for tensor in (*student, *teachers):
        tensor.requires_grad_()
    sum(module(student, teachers, label, MASK)).backward()
    for tensor in (*student, *module.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.abs().sum() > 0
    assert [tensor.grad for tensor in teachers] == [None] * 3


def test_separate_projections_do_not_share_weights() -> None:
    module = make()
    assert projections(module.item_embedding) != projections(module.user_embedding)


def test_a_sample_is_weighed_by_its_own_teachers() -> None:
    """Weights that leak over the batch make a loss depend on its neighbours."""
    module = make()
    student, teachers, label = lessons()
    alone = [
        values(
            module(
                Lesson(*(part[row : row + 1] for part in student)),
                Lesson(*(part[row : row + 1] for part in teachers)),
                label[row : row + 1],
                MASK[row : row + 1],
            )
        )
        for row in range(BATCH)
    ]
    means = [plain.mean(part) for part in zip(*alone, strict=True)]
    assert values(module(student, teachers, label, MASK)) == pytest.approx(means)


def test_a_teacher_too_many_is_refused() -> None:
    student, teachers, label = lessons()
    more = Lesson(*(torch.cat([part, part[:, :1]], dim=1) for part in teachers))
    with pytest.raises(ValueError, match="expects teacher of shape"):
        make()(student, more, label)
