from __future__ import annotations

import plain_losses as plain
import pytest
import torch
from batches import LABEL, REAL, outputs_of, values
from torch import Tensor, nn

from recbole_tinynews.distillation.loss_terms import Distillation, Weights
from recbole_tinynews.distillation.teacher_weighting import WEIGHTINGS
from recbole_tinynews.distillation.tinynewsrec_losses import (
    StageOneDistillation,
    StageTwoDistillation,
    TinyNewsRecDistillation,
)
from recbole_tinynews.model.interface import Outputs

TEACHERS, TEACHER_DIM, DIM = 3, 6, 2


def labelled() -> tuple[Outputs, list[Outputs], Tensor]:
    """Outputs of the student, outputs of the teachers, and the labels."""
    teachers = [outputs_of(10 + number, 0, TEACHER_DIM) for number in range(TEACHERS)]
    return outputs_of(1, 0, DIM), teachers, LABEL


def make(
    temperature: float = 1.0,
    shared_projection: bool = False,
    stage: type[TinyNewsRecDistillation] = StageTwoDistillation,
    weighting: str = "softmax",
    masked: bool = False,
    **weights: float,
) -> TinyNewsRecDistillation:
    torch.manual_seed(0)
    module = stage(
        TEACHERS,
        TEACHER_DIM,
        DIM,
        temperature,
        Weights(**weights),
        WEIGHTINGS[weighting],
        shared_projection,
        masked=masked,
    ).double()
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter)
    return module


def projections(module: nn.Module) -> list[tuple[list, list]]:
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    return [(layer.weight.tolist(), layer.bias.tolist()) for layer in layers]


def items_of(outputs: Outputs, row: int, stage: type[TinyNewsRecDistillation]) -> list:
    """History and candidates in Stage II; titles alone in Stage I."""
    candidates = outputs.news.candidates[row].tolist()
    if stage is StageOneDistillation:
        return candidates
    return [*outputs.news.history[row].tolist(), *candidates]


def by_the_formulas(
    module: TinyNewsRecDistillation, temperature: float, mask: Tensor | None
) -> tuple[Tensor, ...]:
    student, teachers, label = labelled()
    losses: list[tuple[float, float, float]] = []
    for row in range(len(LABEL)):
        y, scores = int(label[row]), [each.scores[row].tolist() for each in teachers]
        weights = plain.weights(scores, y)
        own_scores = student.scores[row].tolist()
        distillation = plain.soft_label(own_scores, plain.mixed(scores, weights), temperature)
        of_items = plain.embedding(
            items_of(student, row, type(module)),
            [items_of(each, row, type(module)) for each in teachers],
            weights,
            projections(module.item_embedding),
            None if mask is None else mask[row].tolist(),
        )
        of_users = plain.embedding(
            [student.user[row].tolist()],
            [[each.user[row].tolist()] for each in teachers],
            weights,
            projections(module.user_embedding),
        )
        losses.append((distillation, of_items + of_users, plain.cross_entropy(own_scores, y)))
    return tuple(torch.tensor(plain.mean(part)) for part in zip(*losses, strict=True))


@pytest.mark.parametrize("mask", [None, REAL], ids=["no mask", "mask"])
@pytest.mark.parametrize("shared", [False, True], ids=["separate", "shared"])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_each_loss_term_equals_the_papers_formula(
    temperature: float, shared: bool, mask: Tensor | None
) -> None:
    """A wrong formula would be another method under the same name."""
    module = make(temperature, shared, masked=mask is not None)
    expected = by_the_formulas(module, temperature, mask)
    assert values(module(*labelled())) == pytest.approx(values(expected), rel=1e-6)


def test_a_term_without_a_weight_is_refused_and_not_left_out() -> None:
    """A loss that was added to a class alone would never be computed."""

    class WithMargin(Distillation):
        def terms(self, *_):
            return dict.fromkeys(["distillation", "embedding", "margin"], lambda: torch.ones(()))

    with pytest.raises(ValueError, match="expects a weight of each loss, got none of margin"):
        WithMargin(1.0, Weights())(*labelled())


def test_the_first_stage_compares_titles_and_no_history() -> None:
    """The history is the body there: it would count twice, as an article and as the user."""
    module = make(stage=StageOneDistillation)
    expected = by_the_formulas(module, 1.0, None)
    assert values(module(*labelled())) == pytest.approx(values(expected), rel=1e-6)


@pytest.mark.parametrize(
    ("shared", "parameters"), [(True, 263_168), (False, 526_336)], ids=["shared", "separate"]
)
def test_projections_have_the_papers_number_of_parameters(shared: bool, parameters: int) -> None:
    """For 4 teachers, 256 -> 256: each has one projection, or one for news and one for users."""
    module = StageTwoDistillation(4, 256, 256, 1.0, Weights(), shared_projection=shared)
    assert sum(parameter.numel() for parameter in module.parameters()) == parameters
