"""What LSTUR's user encoder does with ids in training and afterwards."""

from __future__ import annotations

import plain_users as plain
import torch
from plain_users import DIM, PEOPLE, histories, random_weights

from recbole_tinynews.model.baselines.lstur import LongShortTermUser


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
