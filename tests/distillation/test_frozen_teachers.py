from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from recbole_tinynews.distillation.teachers import FrozenTeachers
from recbole_tinynews.encoder.hidden_states import NO_STATES, HiddenStates, StateRequest
from recbole_tinynews.model.interface import Encoded, Outputs

NEWS, DIM = 20, 4
HISTORY = torch.tensor([[0, 0, 3], [0, 0, 0], [5, 3, 9]])
CLICKED_AND_OTHERS = torch.tensor([[1, 2], [3, 3], [19, 5]])
BATCH = {"history": HISTORY, "candidates": CLICKED_AND_OTHERS}


class NewsTable(nn.Module):
    """A news encoder that is a table of vectors, with dropout in training."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.table = nn.Embedding(NEWS, DIM)
        nn.init.normal_(self.table.weight, generator=torch.Generator().manual_seed(seed))
        self.dropout = nn.Dropout(0.5)

    def forward(self, news_ids: Tensor) -> Tensor:
        return self.dropout(self.table(news_ids)) * (news_ids != 0).unsqueeze(-1)


class MeanOfClicks(nn.Module):
    """A user encoder with one dense layer; a user without clicks has a vector of ones."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(DIM, DIM)

    def forward(self, history: Tensor, clicked: Tensor) -> Tensor:
        count = clicked.sum(dim=1, keepdim=True)
        mean = (history * clicked.unsqueeze(-1)).sum(dim=1) / count.clamp(min=1)
        return torch.where(count > 0, self.dense(mean), torch.ones(DIM))


class Small(nn.Module):
    """A recommender with just the methods that teachers need."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.news_encoder, self.user_encoder = NewsTable(seed), MeanOfClicks()
        self.asked: list[StateRequest] = []

    def encode(self, interaction: Any, taps: StateRequest = NO_STATES) -> Encoded:
        self.asked.append(taps)
        history, candidates = interaction["history"], interaction["candidates"]
        vectors = self.news_encoder(torch.cat([history, candidates], dim=1))
        width = history.shape[1]
        states = None
        if any(taps):
            ids = torch.cat([history, candidates], dim=1).unique()
            pooled = self.news_encoder(ids)
            states = HiddenStates(ids.numpy(), {}, {}, pooled, pooled)
        real = torch.cat([history, candidates], dim=1) != 0
        return Encoded(vectors, real, width, states=states)

    def outputs_of(self, news: Encoded) -> Outputs:
        user = self.user_encoder(news.history, news.clicked)
        scores = (news.candidates @ user.unsqueeze(-1)).squeeze(-1)
        return Outputs(scores, user, news)


@pytest.fixture
def teachers() -> list[Small]:
    torch.manual_seed(0)
    return [Small(seed) for seed in range(3)]


def tensors_of(outputs: Outputs) -> list[Tensor]:
    return [outputs.scores, outputs.user, outputs.news.all]


def by_hand(teacher: Small, row: int) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, user vector and history vectors of one sample, one article after the other."""
    table, dense = teacher.news_encoder.table.weight.detach(), teacher.user_encoder.dense
    clicks = [int(news_id) for news_id in HISTORY[row] if news_id]
    user = torch.ones(DIM)
    if clicks:
        mean = torch.stack([table[click] for click in clicks]).mean(dim=0)
        user = dense.weight.detach() @ mean + dense.bias.detach()
    scores = [float((table[news_id] * user).sum()) for news_id in CLICKED_AND_OTHERS[row]]
    slots = [table[news_id] if news_id else torch.zeros(DIM) for news_id in HISTORY[row]]
    return torch.tensor(scores), user, torch.stack(slots)


def test_outputs_equal_each_teachers_own_scores_and_vectors(teachers: list[Small]) -> None:
    """Teachers in another order, or scores with another's user vector, would be noisy labels."""
    outputs = FrozenTeachers(teachers).outputs(BATCH)
    assert len(outputs) == len(teachers)
    for teacher, found in zip(teachers, outputs, strict=True):
        for row in range(3):
            scores, user, history = by_hand(teacher, row)
            table = teacher.news_encoder.table.weight.detach()
            torch.testing.assert_close(found.scores[row], scores)
            torch.testing.assert_close(found.user[row], user)
            torch.testing.assert_close(found.news.history[row], history)
            torch.testing.assert_close(found.news.candidates[row], table[CLICKED_AND_OTHERS[row]])


def test_teachers_never_go_into_training_mode(teachers: list[Small]) -> None:
    """With dropout in a teacher the student imitates noise, and news vectors are never reused."""
    for teacher in teachers:
        teacher.news_encoder.train()
    frozen = FrozenTeachers(teachers)
    expected = frozen.outputs(BATCH)
    holder = nn.ModuleDict({"teachers": frozen})
    assert frozen.train() is frozen
    holder.train()
    assert not any(module.training for module in frozen.modules())
    for found, outputs in zip(frozen.outputs(BATCH), expected, strict=True):
        torch.testing.assert_close(tensors_of(found), tensors_of(outputs), rtol=0, atol=0)


def test_teachers_are_frozen_and_their_outputs_carry_no_graph(teachers: list[Small]) -> None:
    """A gradient graph through teachers costs memory; an optimizer would change their weights."""
    frozen = FrozenTeachers(teachers)
    assert len(list(frozen.parameters())) == 9
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    teachers[0].user_encoder.requires_grad_(True)
    for outputs in frozen.outputs(BATCH, StateRequest(pooled=True)):
        tensors = *tensors_of(outputs), outputs.states.pooled
        assert not any(value.requires_grad for value in tensors)


def test_scores_are_computed_in_full_precision_inside_mixed_precision(
    teachers: list[Small],
) -> None:
    """Only news vectors may be half precision: rounded scores would tie, and say less."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = FrozenTeachers(teachers).outputs(BATCH)
    for found in outputs:
        products = torch.einsum("bcd,bd->bc", found.news.candidates.float(), found.user)
        assert found.user.dtype == found.scores.dtype == torch.float32
        torch.testing.assert_close(found.scores, products)


def test_states_are_computed_only_where_they_are_asked_for(
    teachers: list[Small],
) -> None:
    """Else each step runs twelve layers of each teacher, for scores that a look-up would give."""
    frozen, taps = FrozenTeachers(teachers), StateRequest(hidden=frozenset({2}))
    assert [outputs.news.states for outputs in frozen.outputs(BATCH)] == [None] * 3
    assert [teacher.asked for teacher in teachers] == [[NO_STATES]] * 3
    assert all(outputs.news.states is not None for outputs in frozen.outputs(BATCH, taps))
    assert [teacher.asked[1:] for teacher in teachers] == [[NO_STATES, taps]] * 3


def test_no_teacher_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 teacher, got none"):
        FrozenTeachers([])
