from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tinynews.distillation.tinynewsrec_losses import ProjectedEmbeddingLoss
from recbole_tinynews.encoder.pooling import fitted_projection

BATCH, TEACHERS, ITEMS, TEACHER_DIM, STUDENT_DIM = 4, 3, 5, 6, 2


def tensors() -> tuple[Tensor, list[Tensor], Tensor]:
    """Student, teachers, weights."""
    generator = torch.Generator().manual_seed(2)
    shapes = (
        (BATCH, ITEMS, STUDENT_DIM),
        (BATCH, TEACHERS, ITEMS, TEACHER_DIM),
        (BATCH, TEACHERS),
    )
    student, teacher, weights = (
        torch.randn(*shape, dtype=torch.float64, generator=generator) for shape in shapes
    )
    return student, [*teacher.unbind(dim=1)], weights.softmax(dim=-1)


@pytest.fixture
def loss() -> ProjectedEmbeddingLoss:
    torch.manual_seed(0)
    module = ProjectedEmbeddingLoss(TEACHERS, TEACHER_DIM, STUDENT_DIM).double()
    for projection in linear(module):
        nn.init.normal_(projection.bias)
    return module


def linear(module: ProjectedEmbeddingLoss) -> list[nn.Linear]:
    return [layer for layer in module.projections if isinstance(layer, nn.Linear)]


MASKS = {
    "no mask": None,
    "every item": torch.ones(BATCH, ITEMS, dtype=torch.bool),
    "some items": torch.tensor([[1, 1, 0, 0, 1], [0, 0, 0, 0, 1], [1] * 5, [0] * 5]).bool(),
}


def test_projections_are_initialised_as_the_method_says() -> None:
    """Torch's own initialisation has biases and a third of the variance."""
    torch.manual_seed(0)
    loss = ProjectedEmbeddingLoss(2, 300, 100)
    for projection in linear(loss):
        assert projection.bias.abs().sum() == 0
        bound = (6 / (300 + 100)) ** 0.5
        assert 0.99 * bound < projection.weight.abs().max() <= bound
    assert not torch.equal(*(projection.weight for projection in linear(loss)))


def test_what_is_masked_changes_neither_loss_nor_gradient(loss: ProjectedEmbeddingLoss) -> None:
    """The vectors of empty slots stand for no click."""
    student, teachers, weights = tensors()
    mask = MASKS["some items"]
    assert mask is not None
    student.requires_grad_()
    before = loss(student, teachers, weights, mask)
    (gradient,) = torch.autograd.grad(before, student)
    assert (gradient[~mask] == 0).all()
    changed = [teacher.masked_fill(~mask[:, :, None], 1e6) for teacher in teachers]
    assert loss(student, changed, weights, mask).item() == before.item()


def test_the_lengths_that_balance_an_error_are_constants() -> None:
    """A gradient through the student's own length makes its vectors longer, error or not."""
    loss = ProjectedEmbeddingLoss(1, 4, 4, balanced=True).double()
    (projection,) = linear(loss)
    student, teacher = torch.randn(2, 3, 5, 4, dtype=torch.float64).unbind()
    projected, student = projection(teacher).detach(), student.requires_grad_()
    (found,) = torch.autograd.grad(
        loss(student, [teacher], torch.ones(3, 1, dtype=torch.float64)), student
    )
    lengths = (projected.square() + student.detach().square()).sum(dim=-1, keepdim=True)
    torch.testing.assert_close(found, 4 * (student.detach() - projected) / lengths / (3 * 5))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("student", (BATCH, ITEMS, 1)),
        ("teacher", (BATCH, 1, TEACHER_DIM)),
        ("teacher", (1, ITEMS, TEACHER_DIM)),
        ("teacher", (BATCH, ITEMS, TEACHER_DIM + 1)),
        ("weights", (BATCH, 1)),
        ("weights", (1, TEACHERS)),
        ("weights", (TEACHERS,)),
        ("mask", (BATCH, 1)),
        ("mask", (1, ITEMS)),
    ],
)
def test_what_would_broadcast_is_refused(
    loss: ProjectedEmbeddingLoss, name: str, shape: tuple
) -> None:
    """One title's vector would be the target of all: the loss falls as all vectors become equal."""
    student, teachers, weights = tensors()
    given = {"student": student, "teachers": teachers, "weights": weights, "mask": None}
    wrong = torch.ones(shape, dtype=torch.float64)
    given |= {"teachers": [*teachers[:-1], wrong]} if name == "teacher" else {name: wrong}
    with pytest.raises(ValueError, match=f"ProjectedEmbeddingLoss expects {name} of shape"):
        loss(**given)


@given(scale=st.floats(1e-3, 1e3))
def test_a_balanced_loss_weighs_vectors_of_any_length_alike(scale: float) -> None:
    """Users are 12 times as long as articles: with squared errors only they would learn."""
    torch.manual_seed(0)
    module = ProjectedEmbeddingLoss(TEACHERS, TEACHER_DIM, STUDENT_DIM, balanced=True).double()
    student, teachers, weights = tensors()
    found = []
    for factor in (1.0, scale):
        own = (factor * student).requires_grad_()
        loss = module(own, [factor * teacher for teacher in teachers], weights)
        found.append((loss, factor * torch.autograd.grad(loss, own)[0]))
    torch.testing.assert_close(found[1], found[0])


def test_a_balanced_error_is_twice_the_cosine_distance_for_equal_lengths() -> None:
    module = ProjectedEmbeddingLoss(1, 4, 4, start_as_identity=True, balanced=True)
    one, other = (F.normalize(torch.randn(2, 3, 4), dim=-1) for _ in range(2))
    expected = 2 * (1 - F.cosine_similarity(one, other, dim=-1)).mean()
    torch.testing.assert_close(module(one, [other], torch.ones(2, 1)), expected)


def test_a_balanced_error_of_empty_vectors_is_zero_with_a_finite_gradient() -> None:
    module = ProjectedEmbeddingLoss(1, 4, 4, start_as_identity=True, balanced=True)
    empty = torch.zeros(1, 1, 4, requires_grad=True)
    loss = module(empty, [torch.zeros(1, 1, 4)], torch.ones(1, 1))
    assert loss == 0
    assert torch.autograd.grad(loss, empty)[0].isfinite().all()


@given(parts=st.integers(1, 7))
def test_a_fitted_projection_finds_the_map_between_two_spaces(parts: int) -> None:
    """However many articles are in memory at a time."""
    generator = torch.Generator().manual_seed(1)
    teacher = torch.randn(60, TEACHER_DIM, generator=generator)
    true = torch.randn(STUDENT_DIM, TEACHER_DIM, generator=generator)
    pairs = ((each @ true.T, each) for each in teacher.chunk(parts))
    torch.testing.assert_close(fitted_projection(pairs).float(), true, rtol=0.01, atol=0.01)
