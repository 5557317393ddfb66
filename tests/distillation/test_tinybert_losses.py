from __future__ import annotations

from typing import Any

import plain_losses as plain
import pytest
import torch
from batches import LABEL, MASK, Padded, padded, values

from recbole_tinynews.distillation.layer_losses import (
    Compared,
    HiddenStateLoss,
    LayerPair,
    layer_pairs,
)
from recbole_tinynews.distillation.tinybert_losses import TinyBERTDistillation, TinyBERTWeights

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


def test_masked_positions_change_nothing() -> None:
    """Most positions of a padded batch are padding, which would dominate the loss."""

    def spoilt(batch: Padded) -> Padded:
        pairs = MASK[:, None, :, None] & MASK[:, None, None, :]
        return batch._replace(
            hidden={n: torch.where(MASK[..., None], h, 1e6) for n, h in batch.hidden.items()},
            attention={n: torch.where(pairs, a, -1e9) for n, a in batch.attention.items()},
        )

    whole = values(loss_of(make(), student(), teacher()))
    assert values(loss_of(make(), spoilt(student()), spoilt(teacher()))) == whole


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
