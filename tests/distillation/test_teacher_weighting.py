from __future__ import annotations

from collections.abc import Callable, Sequence

import plain_losses as plain
import pytest
import torch
from torch import Tensor

from recbole_tinynews.distillation.teacher_weighting import WEIGHTINGS, softmax
from recbole_tinynews.settings.table import setting

SCORES = 3 * torch.randn(6, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
LABEL = torch.tensor([0, 4, 2, 2, 1, 3])


def errors(scores: Sequence[plain.Vector], label: int) -> list[float]:
    return [plain.cross_entropy(of_teacher, label) for of_teacher in scores]


def best_of(scores: Sequence[plain.Vector], label: int) -> list[float]:
    of_teachers = errors(scores, label)
    return [float(number == of_teachers.index(min(of_teachers))) for number in range(len(scores))]


PLAIN: dict[str, Callable[[Sequence[plain.Vector], int], list[float]]] = {
    "softmax": plain.weights,
    "equal": lambda scores, label: [1 / len(scores)] * len(scores),
    "best": best_of,
    "inverse_error": lambda scores, label: [1 / (1 + error) for error in errors(scores, label)],
}


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_weights_equal_the_plain_formula(name: str) -> None:
    """A wrong axis weighs candidates, or samples, instead of teachers."""
    rows = zip(SCORES, LABEL.tolist(), strict=True)
    expected = [PLAIN[name](scores.tolist(), label) for scores, label in rows]
    found = WEIGHTINGS[name](SCORES, LABEL)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_weights_are_finite_for_scores_of_any_size() -> None:
    """The exp of a cross entropy of 1,000 is 0, and 0 / 0 turns the student into NaN."""
    scores = torch.tensor([[[0.0, 1e4], [0.0, 1e4]], [[0.0, 1e4], [1e4, 0.0]]])
    found = softmax(scores, torch.tensor([0, 0]))
    assert found.tolist() == [[0.5, 0.5], [0.0, 1.0]]


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_no_gradient_passes_to_a_teacher(name: str) -> None:
    """Teachers would learn to look right, so that their weight in the loss goes down."""
    scores = torch.randn(2, 3, 4, requires_grad=True)
    assert not WEIGHTINGS[name](scores, torch.tensor([0, 1])).requires_grad


@pytest.mark.parametrize("name", WEIGHTINGS)
@pytest.mark.parametrize(
    ("scores", "label"), [((2, 3), (2,)), ((2, 3, 4), (3,)), ((2, 3, 4), (2, 1)), ((1, 3, 4), (2,))]
)
def test_labels_of_another_shape_are_refused(name: str, scores: tuple, label: tuple) -> None:
    """They would broadcast: all samples would be weighted by the label of the first."""
    zeros: Tensor = torch.zeros(scores)
    with pytest.raises(ValueError, match=r"expects scores .batch, teachers, candidates."):
        WEIGHTINGS[name](zeros, torch.zeros(label, dtype=torch.long))


def test_the_setting_names_every_weighting_and_no_other() -> None:
    """Else a weighting can't be chosen, or a name fails after hours of training."""
    rule = setting("teacher_weighting").rule
    assert rule is not None
    assert {*rule.choices} == WEIGHTINGS.keys()
