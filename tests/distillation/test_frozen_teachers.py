from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from recbole_tinynews.distillation.frozen_teachers import Teacher, TeacherEnsemble, TeacherLabels

NEWS, DIM = 20, 4
HISTORY = torch.tensor([[0, 0, 3], [0, 0, 0], [5, 3, 9]])
CLICKED_AND_OTHERS = torch.tensor([[1, 2], [3, 3], [19, 5]])


class NewsTable(nn.Module):
    """A news encoder that looks its vectors up, with dropout while it trains."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.table = nn.Embedding(NEWS, DIM)
        nn.init.normal_(self.table.weight, generator=torch.Generator().manual_seed(seed))
        self.dropout = nn.Dropout(0.5)

    def forward(self, news_ids: Tensor) -> Tensor:
        return self.dropout(self.table(news_ids)) * (news_ids != 0).unsqueeze(-1)


class MeanOfClicks(nn.Module):
    """A user encoder with a weight; a user without clicks has a vector of ones."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(DIM, DIM)

    def forward(self, history: Tensor, clicked: Tensor) -> Tensor:
        count = clicked.sum(dim=1, keepdim=True)
        mean = (history * clicked.unsqueeze(-1)).sum(dim=1) / count.clamp(min=1)
        return torch.where(count > 0, self.dense(mean), torch.ones(DIM))


@pytest.fixture
def teachers() -> list[Teacher]:
    torch.manual_seed(0)
    return [Teacher(NewsTable(seed), MeanOfClicks()) for seed in range(3)]


def by_hand(teacher: Teacher, row: int) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, user vector and history vectors of one sample, news by news."""
    news, user_encoder = teacher.news_encoder, teacher.user_encoder
    assert isinstance(news, NewsTable)
    assert isinstance(user_encoder, MeanOfClicks)
    table = news.table.weight.detach()
    clicks = [int(news_id) for news_id in HISTORY[row] if news_id]
    user = torch.ones(DIM)
    if clicks:
        mean = torch.stack([table[click] for click in clicks]).mean(dim=0)
        user = user_encoder.dense.weight.detach() @ mean + user_encoder.dense.bias.detach()
    scores = [float((table[news_id] * user).sum()) for news_id in CLICKED_AND_OTHERS[row]]
    slots = [table[news_id] if news_id else torch.zeros(DIM) for news_id in HISTORY[row]]
    return torch.tensor(scores), user, torch.stack(slots)


def test_labels_equal_each_teachers_own_scores_and_vectors(teachers: list[Teacher]) -> None:
    """Teachers in another order, or scored with another's user, teach noise with confidence."""
    labels = TeacherEnsemble(teachers).label(HISTORY, CLICKED_AND_OTHERS)
    for row in range(3):
        for number, teacher in enumerate(teachers):
            scores, user, history = by_hand(teacher, row)
            table = teacher.news_encoder.table.weight.detach()
            torch.testing.assert_close(labels.scores[row, number], scores)
            torch.testing.assert_close(labels.user[row, number], user)
            torch.testing.assert_close(labels.history[row, number], history)
            expected = table[CLICKED_AND_OTHERS[row]]
            torch.testing.assert_close(labels.candidates[row, number], expected)


def test_labels_have_the_shapes_that_students_expect(teachers: list[Teacher]) -> None:
    labels = TeacherEnsemble(teachers).label(HISTORY, CLICKED_AND_OTHERS)
    assert {name: tuple(value.shape) for name, value in labels._asdict().items()} == {
        "scores": (3, 3, 2),
        "candidates": (3, 3, 2, DIM),
        "history": (3, 3, 3, DIM),
        "user": (3, 3, DIM),
    }
    one = TeacherEnsemble(teachers[:1]).label(HISTORY[:2], CLICKED_AND_OTHERS[:2])
    assert one.scores.shape == (2, 1, 2)


def test_teachers_never_go_into_training_mode(teachers: list[Teacher]) -> None:
    """Dropout in a teacher: the student imitates noise, and news vectors are never kept."""
    for teacher in teachers:
        teacher.news_encoder.train()
    ensemble = TeacherEnsemble(teachers)
    expected = ensemble.label(HISTORY, CLICKED_AND_OTHERS)
    holder = nn.ModuleDict({"teachers": ensemble})
    assert ensemble.train() is ensemble
    holder.train()
    assert not any(module.training for module in ensemble.modules())
    for found, value in zip(ensemble.label(HISTORY, CLICKED_AND_OTHERS), expected, strict=True):
        torch.testing.assert_close(found, value, rtol=0, atol=0)


def test_teachers_are_frozen_and_their_labels_carry_no_graph(teachers: list[Teacher]) -> None:
    """An optimizer over them, or a graph through them, costs their memory and their knowledge."""
    ensemble = TeacherEnsemble(teachers)
    assert len(list(ensemble.parameters())) == 9
    assert not any(parameter.requires_grad for parameter in ensemble.parameters())
    user_encoder = teachers[0].user_encoder
    user_encoder.requires_grad_(True)
    labels = ensemble.label(HISTORY, CLICKED_AND_OTHERS)
    assert not any(value.requires_grad for value in labels)


def test_scores_are_made_in_full_precision_inside_mixed_precision(teachers: list[Teacher]) -> None:
    """Only the news vectors may be of half precision: scores that tie would hide what is known."""
    ensemble = TeacherEnsemble(teachers)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = ensemble.label(HISTORY, CLICKED_AND_OTHERS)
    products = torch.einsum("bmcd,bmd->bmc", found.candidates.float(), found.user)
    assert found.user.dtype == found.scores.dtype == torch.float32
    torch.testing.assert_close(found.scores, products)


def test_no_teacher_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 teacher, got none"):
        TeacherEnsemble([])


def test_labels_name_their_parts() -> None:
    """The trainer makes a batch's fields of these names, and the students ask for them."""
    assert TeacherLabels._fields == ("scores", "candidates", "history", "user")
