from __future__ import annotations

import math

import plain
import pytest
import torch

from recbole_tinynews.distillation.teacher_weights import teacher_weights


def test_weights_equal_the_formula_and_sum_to_one() -> None:
    """A wrong axis weighs candidates, or samples, instead of teachers."""
    scores = torch.randn(6, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    label = torch.tensor([0, 4, 2, 2, 1, 3])
    found = teacher_weights(3 * scores, label)
    expected = [
        plain.weights((3 * s).tolist(), y) for s, y in zip(scores, label.tolist(), strict=True)
    ]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(found.sum(dim=1), torch.ones(6, dtype=torch.float64))


def test_weights_by_hand() -> None:
    """A teacher counts as the probability it gives the click: 3/4 against 1/2 are 0.6 to 0.4."""
    scores = torch.tensor([[[math.log(3.0), 0.0], [0.0, 0.0]]])
    torch.testing.assert_close(
        teacher_weights(scores, torch.tensor([0])), torch.tensor([[0.6, 0.4]])
    )


def test_a_teacher_counts_less_where_it_is_wrong_and_there_alone() -> None:
    """One weight for a whole batch lets a teacher speak on what it does not know."""
    right, wrong = [5.0, 0.0], [0.0, 5.0]
    scores = torch.tensor([[right, wrong], [wrong, right], [right, right]])
    first, second, both = teacher_weights(scores, torch.tensor([0, 0, 0])).tolist()
    assert first[0] > 0.99 > 0.01 > first[1]
    assert second[1] > 0.99 > 0.01 > second[0]
    assert both == [0.5, 0.5]


def test_weights_are_finite_for_scores_of_any_size() -> None:
    """The exp of a cross entropy of 1,000 is 0, and 0 / 0 turns the student into NaN."""
    scores = torch.tensor([[[0.0, 1e4], [0.0, 1e4]], [[0.0, 1e4], [1e4, 0.0]]])
    found = teacher_weights(scores, torch.tensor([0, 0]))
    assert found.tolist() == [[0.5, 0.5], [0.0, 1.0]]


def test_no_gradient_passes_to_a_teacher() -> None:
    """Teachers would learn to look right, so that their weight in the loss goes down."""
    scores = torch.randn(2, 3, 4, requires_grad=True)
    assert not teacher_weights(scores, torch.tensor([0, 1])).requires_grad


@pytest.mark.parametrize(
    ("scores", "label"), [((2, 3), (2,)), ((2, 3, 4), (3,)), ((2, 3, 4), (2, 1)), ((1, 3, 4), (2,))]
)
def test_labels_of_another_shape_are_refused(scores: tuple, label: tuple) -> None:
    """They would expand: all samples weighed by the label of the first."""
    with pytest.raises(ValueError, match=r"expects scores .batch, teachers, candidates."):
        teacher_weights(torch.zeros(scores), torch.zeros(label, dtype=torch.long))
