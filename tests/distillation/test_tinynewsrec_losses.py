from __future__ import annotations

import plain_losses as plain
import pytest
import torch
from batches import outputs_of
from torch import Tensor, nn

from recbole_tinynews.distillation.loss_terms import Weights
from recbole_tinynews.distillation.teacher_weighting import WEIGHTINGS
from recbole_tinynews.distillation.tinynewsrec_losses import (
    StageOneDistillation,
    StageTwoDistillation,
    TinyNewsRecDistillation,
)
from recbole_tinynews.model.interface import Outputs

SUMMANDS = ("distillation", "embedding", "target")
BATCH, TEACHERS, CANDIDATES, HISTORY, TEACHER_DIM, DIM = 4, 3, 5, 2, 6, 2
MASK = torch.tensor(
    [[1] * 7, [0, 0, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1, 1], [0] * 2 + [1] * 5]
).bool()


def random(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def drawn(dim: int, seed: int) -> Outputs:
    return outputs_of(
        random(BATCH, CANDIDATES, seed=seed),
        random(BATCH, HISTORY, dim, seed=seed + 2),
        random(BATCH, CANDIDATES, dim, seed=seed + 1),
        random(BATCH, dim, seed=seed + 3),
        MASK,
    )


def labelled() -> tuple[Outputs, list[Outputs], Tensor]:
    """Outputs of the student, outputs of the teachers, and the labels."""
    teachers = [drawn(TEACHER_DIM, seed=100 + 10 * number) for number in range(TEACHERS)]
    teachers = [each._replace(scores=2 * each.scores) for each in teachers]
    return drawn(DIM, seed=1), teachers, torch.tensor([0, 3, 1, 4])


def tensors_of(outputs: Outputs) -> list[Tensor]:
    return [outputs.scores, outputs.news.all, outputs.user]


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
    for row in range(BATCH):
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


def values(loss: tuple[Tensor, ...]) -> list[float]:
    return [float(part.detach()) for part in loss]


@pytest.mark.parametrize("mask", [None, MASK], ids=["no mask", "mask"])
@pytest.mark.parametrize("shared", [False, True], ids=["separate", "shared"])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_each_loss_term_equals_the_papers_formula(
    temperature: float, shared: bool, mask: Tensor | None
) -> None:
    """A wrong formula would be another method under the same name."""
    module = make(temperature, shared, masked=mask is not None)
    expected = by_the_formulas(module, temperature, mask)
    assert values(module(*labelled())) == pytest.approx(values(expected), rel=1e-6)


def test_the_first_stage_compares_titles_and_no_history() -> None:
    """The history is the body there: it would count twice, as an article and as the user."""
    module = make(stage=StageOneDistillation)
    expected = by_the_formulas(module, 1.0, None)
    assert values(module(*labelled())) == pytest.approx(values(expected), rel=1e-6)


@pytest.mark.parametrize("name", sorted(WEIGHTINGS.keys() - {"softmax"}))
def test_another_weighting_of_teachers_is_another_loss(name: str) -> None:
    """If the setting reached no loss, all weightings would look equally good."""
    by_default, chosen = make()(*labelled()), make(weighting=name)(*labelled())
    assert abs(by_default.distillation - chosen.distillation) > 1e-3
    assert abs(by_default.embedding - chosen.embedding) > 1e-3
    assert by_default.target == chosen.target


def test_weights_multiply_their_loss_term_alone() -> None:
    """RecBole adds up the terms as they are, so a weight applied outside of them is lost."""
    plain_sum = values(make(masked=True)(*labelled()))
    weighted = make(masked=True, distillation=0.5, embedding=3.0, target=0.2)
    found = values(weighted(*labelled()))
    factors = [0.5, 3.0, 0.2]
    assert found == pytest.approx([f * v for f, v in zip(factors, plain_sum, strict=True)])


@pytest.mark.parametrize("removed", SUMMANDS)
def test_a_weight_of_zero_removes_a_loss_term_and_its_work(removed: str) -> None:
    """The ablations of the paper; projections without gradient would count as parameters.

    A term that is logged as 0 looks as if it had been learned perfectly.
    """
    module = make(**{removed: 0})
    student, teachers, label = labelled()
    for tensor in tensors_of(student):
        tensor.requires_grad_()
    loss = module(student, teachers, label)
    assert loss._fields == tuple(name for name in SUMMANDS if name != removed)
    whole = make()(*labelled())
    for name, value in zip(loss._fields, loss, strict=True):
        assert value.item() == pytest.approx(getattr(whole, name).item())
    sum(loss).backward()
    assert (student.news.all.grad is None) == (removed == "embedding")
    assert (len(list(module.parameters())) == 0) == (removed == "embedding")


def test_without_any_loss_term_it_is_refused() -> None:
    """Otherwise the first backward fails, after the teachers were trained."""
    with pytest.raises(ValueError, match="at least one loss whose weight is not 0"):
        make(distillation=0, embedding=0, target=0)


@pytest.mark.parametrize(
    ("shared", "parameters"), [(True, 263_168), (False, 526_336)], ids=["shared", "separate"]
)
def test_projections_have_the_papers_number_of_parameters(shared: bool, parameters: int) -> None:
    """For 4 teachers, 256 -> 256: each has one projection, or one for news and one for users."""
    module = StageTwoDistillation(4, 256, 256, 1.0, Weights(), shared_projection=shared)
    assert sum(parameter.numel() for parameter in module.parameters()) == parameters


@pytest.mark.parametrize("shared", [False, True])
def test_student_and_projections_learn_and_teachers_do_not(shared: bool) -> None:
    """A gradient into a label would train the teachers towards the student."""
    module = make(shared_projection=shared, masked=True)
    student, teachers, label = labelled()
    of_teachers = [tensor for each in teachers for tensor in tensors_of(each)]
    for tensor in (*tensors_of(student), *of_teachers):
        tensor.requires_grad_()
    sum(module(student, teachers, label)).backward()
    for tensor in (*tensors_of(student), *module.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.abs().sum() > 0
    assert [tensor.grad for tensor in of_teachers] == [None] * len(of_teachers)


def test_separate_projections_do_not_share_weights() -> None:
    module = make()
    assert projections(module.item_embedding) != projections(module.user_embedding)


def test_a_samples_weights_do_not_depend_on_its_batch() -> None:
    """Weights that leak over the batch make a loss depend on its neighbours."""
    module = make(masked=True)
    student, teachers, label = labelled()

    def only(row: int, outputs: Outputs) -> Outputs:
        of, news = slice(row, row + 1), outputs.news
        news = news._replace(all=news.all[of], real=news.real[of])
        return Outputs(outputs.scores[of], outputs.user[of], news)

    alone = [
        values(module(only(row, student), [only(row, t) for t in teachers], label[row : row + 1]))
        for row in range(BATCH)
    ]
    means = [plain.mean(part) for part in zip(*alone, strict=True)]
    assert values(module(student, teachers, label)) == pytest.approx(means)


def test_a_teacher_too_many_is_refused() -> None:
    student, teachers, label = labelled()
    with pytest.raises(ValueError, match="expects 3 teachers, one for each projection, got 4"):
        make()(student, [*teachers, teachers[0]], label)
