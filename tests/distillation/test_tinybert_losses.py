from __future__ import annotations

from typing import Any

import plain_losses as plain
import pytest
import torch
from batches import LABEL, MASK, Padded, padded, with_states
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tinynews.distillation.layer_losses import (
    Compared,
    HiddenStateLoss,
    LayerPair,
    layer_pairs,
)
from recbole_tinynews.distillation.tinybert_losses import TinyBERTDistillation, TinyBERTWeights
from recbole_tinynews.encoder.hidden_states import StateRequest

SUMMANDS = ("distillation", "hidden", "attention", "embedding", "target")
STUDENT_LAYERS, TEACHER_LAYERS, DIM = 2, 5, 6
PAIRS = layer_pairs(STUDENT_LAYERS, TEACHER_LAYERS, "uniform")  # 1 <-> 3, 2 <-> 5


def make(
    teachers: int = 1,
    dim: int = DIM,
    pairs: Any = PAIRS,
    trains: bool = True,
    temperature: float = 1.0,
    **weights: float,
) -> TinyBERTDistillation:
    torch.manual_seed(0)
    return TinyBERTDistillation(
        teachers, Compared(pairs, trains, dim, DIM), temperature, TinyBERTWeights(**weights)
    ).double()


def student(dim: int = DIM) -> Padded:
    return padded(1, STUDENT_LAYERS, dim)


def teacher(number: int = 0) -> Padded:
    return padded(10 + number, TEACHER_LAYERS, DIM)


def loss_of(module: TinyBERTDistillation, own: Padded, *teachers: Padded) -> Any:
    return module(own.outputs(), [each.outputs() for each in teachers], LABEL)


def values(loss: tuple[Tensor, ...]) -> list[float]:
    return [float(part.detach()) for part in loss]


def by_the_formulas(
    own: Padded,
    other: Padded,
    temperature: float,
    hidden: list | None = None,
    embedding: list | None = None,
) -> list[float]:
    """Padded loops over one teacher."""
    mask = MASK.tolist()
    rows = list(zip(own.scores.tolist(), other.scores.tolist(), LABEL.tolist(), strict=True))
    return [
        plain.mean([plain.soft_label(s, t, temperature) for s, t, _ in rows]),
        sum(
            plain.padded_hidden(own.hidden[m].tolist(), other.hidden[g].tolist(), mask, hidden)
            for m, g in PAIRS
        ),
        sum(
            plain.padded_attention(own.attention[m].tolist(), other.attention[g].tolist(), mask)
            for m, g in PAIRS
        ),
        plain.padded_hidden(own.hidden[0].tolist(), other.hidden[0].tolist(), mask, embedding),
        plain.mean([plain.cross_entropy(s, y) for s, _, y in rows]),
    ]


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("dim", [DIM, 4], ids=["equal widths", "other widths"])
def test_each_loss_term_equals_the_papers_formula(temperature: float, dim: int) -> None:
    """A wrong formula would be another method under the same name."""
    module, own, other = make(dim=dim, temperature=temperature), student(dim), teacher()
    matrices: list[Any] = [None, None]
    if dim != DIM:
        matrices = [
            part[0].projection.weight.tolist() for part in (module.hidden, module.embedding)
        ]
    expected = by_the_formulas(own, other, temperature, *matrices)
    loss = loss_of(module, own, other)
    assert loss._fields == SUMMANDS
    assert values(loss) == pytest.approx(expected, rel=1e-9)


def test_several_teachers_are_averaged_and_the_target_counts_once() -> None:
    """A sum would let the number of teachers decide how much the target counts."""
    teachers = [teacher(number) for number in range(3)]
    of_each = [by_the_formulas(student(), each, 2.0) for each in teachers]
    means = [plain.mean(each) for each in zip(*of_each, strict=True)]
    assert values(loss_of(make(3, temperature=2.0), student(), *teachers)) == pytest.approx(means)


def test_the_mean_of_soft_label_losses_is_one_against_the_mean_of_probabilities() -> None:
    """An identity of cross entropy; it fails where the teachers' scores are mixed first."""
    teachers, temperature = [teacher(number) for number in range(3)], 2.0
    own = student()
    loss = loss_of(make(3, temperature=temperature), own, *teachers).distillation
    mean = torch.stack([F.softmax(each.scores / temperature, -1) for each in teachers]).mean(0)
    log_student = F.log_softmax(own.scores / temperature, -1)
    torch.testing.assert_close(loss, -(mean * log_student).sum(-1).mean() * temperature**2)


def test_the_mean_of_squared_errors_learns_what_one_against_the_mean_teacher_does() -> None:
    """The gradients are equal without projections; the values differ by the teachers' variance."""
    teachers = [teacher(number) for number in range(3)]
    each_one = [each.outputs() for each in teachers]
    states = each_one[0].states._replace(
        hidden={n: _mean_of(each.states.hidden[n] for each in each_one) for n in (0, 3, 5)},
        attention={n: _mean_of(each.states.attention[n] for each in each_one) for n in (3, 5)},
    )
    mean = with_states(each_one[0], states)
    gradients = []
    for module, others in ((make(3), each_one), (make(1), [mean])):
        own = student().outputs()
        states = [*own.states.hidden.values(), *own.states.attention.values()]
        for state in states:
            state.requires_grad_()
        loss = module(own, others, LABEL)
        (loss.hidden + loss.attention + loss.embedding).backward()
        gradients.append([state.grad for state in states])
    torch.testing.assert_close(*gradients)


def _mean_of(tensors: Any) -> Tensor:
    return torch.stack(list(tensors)).mean(0)


def test_a_student_that_equals_its_teacher_has_nothing_to_imitate() -> None:
    """A term above 0 would pull the student away from a teacher that it equals."""
    same = padded(1, STUDENT_LAYERS, DIM)
    loss = loss_of(make(pairs=layer_pairs(2, 2, "uniform")), same, same)
    assert (loss.hidden, loss.attention, loss.embedding) == (0, 0, 0)


def test_masked_positions_change_nothing() -> None:
    """Most positions of a padded batch are padding, which would dominate the loss."""

    def spoilt(batch: Padded) -> Padded:
        pairs = MASK[:, None, :, None] & MASK[:, None, None, :]
        return Padded(
            batch.scores,
            {n: torch.where(MASK[..., None], state, 1e6) for n, state in batch.hidden.items()},
            {n: torch.where(pairs, state, -1e9) for n, state in batch.attention.items()},
        )

    whole = values(loss_of(make(), student(), teacher()))
    assert values(loss_of(make(), spoilt(student()), spoilt(teacher()))) == whole


def test_weights_multiply_their_loss_term_alone() -> None:
    """RecBole adds up the terms as they are, so a weight applied outside of them is lost."""
    whole = values(loss_of(make(), student(), teacher()))
    factors = dict(zip(SUMMANDS, [0.5, 3.0, 0.1, 7.0, 0.2], strict=True))
    weighted = make(**factors)
    found = values(loss_of(weighted, student(), teacher()))
    expected = [f * v for f, v in zip(factors.values(), whole, strict=True)]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("removed", SUMMANDS)
def test_a_weight_of_zero_removes_a_loss_term_and_its_work(removed: str) -> None:
    """A teacher's layer that nothing compares would still be computed in each step."""
    module = make(dim=4, **{removed: 0})
    loss = loss_of(module, student(4), teacher())
    assert loss._fields == tuple(name for name in SUMMANDS if name != removed)
    hidden = {m for m, _ in PAIRS} if removed != "hidden" else set()
    hidden |= {0} if removed != "embedding" else set()
    attention = {m for m, _ in PAIRS} if removed != "attention" else set()
    assert module.student_states == StateRequest(frozenset(hidden), frozenset(attention))
    to_teacher = {0: 0, **dict(PAIRS)}
    expected = [frozenset(to_teacher[m] for m in layers) for layers in (hidden, attention)]
    assert module.teacher_states == StateRequest(*expected)
    projections = sum(isinstance(part, nn.Linear) for part in module.modules())
    assert projections == 2 - (removed in ("hidden", "embedding"))


def test_a_term_without_trained_parameters_is_left_out() -> None:
    """A constant in the sum looks like a loss that does not learn."""
    module = make(trains=False, pairs=PAIRS[1:])
    loss = loss_of(module, student(), teacher())
    assert loss._fields == ("distillation", "hidden", "attention", "target")
    assert module.teacher_states == StateRequest(frozenset({5}), frozenset({5}))
    assert loss_of(make(trains=False, pairs=[]), student(), teacher())._fields == (
        "distillation",
        "target",
    )
    with pytest.raises(ValueError, match="at least one loss"):
        make(trains=False, pairs=[], distillation=0, target=0)


@pytest.mark.parametrize("dim", [DIM, 4])
def test_student_and_projections_learn_and_teachers_do_not(dim: int) -> None:
    """A gradient into a label would train the teachers towards the student."""
    module, own, others = (
        make(2, dim=dim),
        student(dim).outputs(),
        [teacher(n).outputs() for n in (0, 1)],
    )
    assert len(list(module.parameters())) == (0 if dim == DIM else 4)
    learning = [own.scores, *own.states.hidden.values(), *own.states.attention.values()]
    for tensor in learning:
        tensor.requires_grad_()
    sum(module(own, others, LABEL)).backward()
    for tensor in (*learning, *module.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.abs().sum() > 0


def test_states_of_other_texts_are_refused() -> None:
    """An equal number of rows of other texts would train without an error."""
    own, other = student().outputs(), teacher().outputs()
    shuffled = with_states(other, other.states._replace(ids=other.states.ids[::-1]))
    with pytest.raises(ValueError, match=r"the same 4 texts .* teacher 0"):
        make()(own, [shuffled], LABEL)


def test_outputs_without_states_are_refused() -> None:
    """With scores alone, training would leave out the core of the method."""
    own, other = student().outputs(), teacher().outputs()
    with pytest.raises(ValueError, match="expects outputs with states"):
        make()(own, [with_states(other, None)], LABEL)
    with pytest.raises(ValueError, match="expects outputs with states"):
        make()(with_states(own, None), [other], LABEL)


def test_another_number_of_teachers_is_refused() -> None:
    with pytest.raises(ValueError, match="labelled by 1 teachers, got 2"):
        loss_of(make(), student(), teacher(), teacher(1))


def test_states_of_another_width_are_refused() -> None:
    """One head against two broadcasts."""
    other = teacher()
    one_head = other._replace(attention={n: a[:, :1] for n, a in other.attention.items()})
    with pytest.raises(ValueError, match=r"attention_loss expects equal shapes.*number of heads"):
        loss_of(make(), student(), one_head)
    with pytest.raises(ValueError, match="HiddenStateLoss expects equal shapes"):
        loss_of(make(), student(4), other)


def test_the_loss_of_half_precision_states_is_in_full_precision() -> None:
    """A mean of a million squares in bf16 has two digits left."""
    loss = HiddenStateLoss([LayerPair(0, 0)], DIM, DIM)
    own, other = (
        {0: each.outputs().states.hidden[0].bfloat16()} for each in (student(), teacher())
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert loss(own, other).dtype == torch.float32
