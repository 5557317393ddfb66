"""LSTUR's user encoder against its equations, one click at a time."""

from __future__ import annotations

import plain_users as plain
import pytest
import torch
from plain_users import DIM, PEOPLE, PERSONS, histories, random_weights

from recbole_tinynews.model.baselines.lstur import LongShortTermUser


@pytest.mark.parametrize("combination", ["ini", "con"])
def test_a_user_encoder_computes_what_its_paper_says(combination: str) -> None:
    """A shape that fits hides a GRU that reads backwards."""
    torch.manual_seed(0)
    encoder = random_weights(LongShortTermUser(DIM, PEOPLE, combination))
    history, clicked = histories()
    users = encoder(history, clicked, PERSONS)
    weights = dict(encoder.state_dict())
    assert users.shape == (5, DIM)
    for row, person in enumerate(PERSONS.tolist()):
        clicks = list(history[row][clicked[row]])
        expected = plain.lstur(weights, clicks, user=person, combination=combination)
        torch.testing.assert_close(users[row], expected)


@pytest.mark.parametrize("combination", ["ini", "con"])
def test_every_weight_of_a_user_encoder_learns(combination: str) -> None:
    """A weight that no user reaches would stay random, and nothing would show it."""
    torch.manual_seed(0)
    encoder = random_weights(LongShortTermUser(DIM, PEOPLE, combination))
    encoder(*histories(), PERSONS).square().sum().backward()
    for weight, parameter in encoder.named_parameters():
        assert parameter.grad is not None, weight
        assert parameter.grad.isfinite().all(), weight
        assert parameter.grad.abs().sum() > 0, weight


def test_lstur_masks_each_user_as_a_whole_in_training_alone() -> None:
    """A mask of single numbers is dropout; one at ranking makes scores random."""
    torch.manual_seed(0)
    encoder = random_weights(LongShortTermUser(DIM, 2, "con", mask_probability=0.3))
    many, person = torch.randn(400, 3, DIM, dtype=torch.float64), torch.ones(400, dtype=torch.long)
    clicked = torch.ones(400, 3, dtype=torch.bool)
    with torch.no_grad():
        ranked = encoder(many, clicked, person)[:, DIM // 2 :]
        trained = encoder.train()(many, clicked, person)[:, DIM // 2 :]
    assert torch.equal(ranked, encoder.long_term.weight[1].expand(400, -1))
    masked = (trained == 0).all(dim=1)
    assert torch.equal(trained[~masked], ranked[~masked])  # not scaled up
    assert 80 < int(masked.sum()) < 160  # 120 expected, 4 standard deviations are 37


def test_a_user_unseen_in_training_is_one_whose_id_is_masked() -> None:
    """A random vector of an id that nobody trained would move the scores of every new user."""
    torch.manual_seed(0)
    encoder = LongShortTermUser(DIM, PEOPLE, "ini").double().train()
    optimizer = torch.optim.Adam(encoder.parameters(), lr=0.1)
    history, clicked = histories()
    for _ in range(8):  # user 2 is not among them, nor is the unknown one
        optimizer.zero_grad()
        encoder(history, clicked, torch.tensor([1, 0, 3, 4, 1])).square().sum().backward()
        optimizer.step()
    trained = encoder.long_term.weight.abs().sum(dim=1) > 0
    assert trained.tolist() == [False, True, False, True, True]
    users = encoder.eval()(history, clicked, torch.full((5,), 2))
    weights = dict(encoder.state_dict())
    for row in range(5):
        expected = plain.lstur(weights, list(history[row][clicked[row]]), 4, "ini", True)
        torch.testing.assert_close(users[row], expected)


def test_lstur_con_needs_two_equal_halves() -> None:
    with pytest.raises(ValueError, match=r"even size.*got 7"):
        LongShortTermUser(7, PEOPLE, "con")


def test_it_is_as_large_as_counted_by_hand() -> None:
    """No metric shows a second bias, or a projection that the paper does not have."""

    def size(combination: str) -> int:
        encoder = LongShortTermUser(500, 1_000, combination)
        return sum(parameter.numel() for parameter in encoder.parameters())

    assert size("ini") == 1_000 * 500 + 3 * (500 * 500 + 500 * 500 + 500 + 500) + 500
    assert size("con") == 1_000 * 250 + 3 * (250 * 500 + 250 * 250 + 250 + 250) + 500
