"""The user encoders of the zoo against their equations, one click at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import plain_users as plain
import pytest
import torch
from plain_users import DIM, histories, random_weights
from torch import Tensor, nn

from recbole_tinynews.zoo.cennewsrec import RecentAndAllUser
from recbole_tinynews.zoo.fastformer import FastformerAttention, FastformerUser
from recbole_tinynews.zoo.miner import InterestMatching, PolyAttention, disagreement
from recbole_tinynews.zoo.npa import PersonalisedAttention

Case = tuple[Callable[[], nn.Module], Callable[..., Tensor], dict[str, Any]]
ENCODERS: dict[str, Case] = {
    "CenNewsRec": (
        lambda: RecentAndAllUser(DIM, 7, head_dim=4, recent=2),
        plain.cennewsrec,
        {"heads": 3, "recent": 2},
    ),
    "CenNewsRec, all recent": (
        lambda: RecentAndAllUser(DIM, 7, head_dim=3, recent=20),
        plain.cennewsrec,
        {"heads": 4, "recent": 20},
    ),
    "Fastformer": (
        lambda: FastformerUser(DIM, 7, heads=3),
        plain.fastformer,
        {"layers": 1},
    ),
    "Fastformer, 2 layers": (
        lambda: FastformerUser(DIM, 7, heads=2, layers=2),
        plain.fastformer,
        {"layers": 2},
    ),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_a_user_encoder_computes_what_its_paper_says(name: str) -> None:
    """A shape that fits hides a softmax over the wrong axis, or a GRU that reads backwards."""
    torch.manual_seed(0)
    make, reference, arguments = ENCODERS[name]
    encoder = random_weights(make())
    history, clicked = histories()
    users = encoder(history, clicked)
    weights = dict(encoder.state_dict())
    assert users.shape == (5, DIM)
    for row in range(5):
        expected = reference(weights, list(history[row][clicked[row]]), **arguments)
        torch.testing.assert_close(users[row], expected)


@pytest.mark.parametrize("name", ENCODERS)
def test_every_weight_of_a_user_encoder_learns(name: str) -> None:
    """A weight that no user reaches would stay random, and nothing would show it."""
    torch.manual_seed(0)
    make, *_ = ENCODERS[name]
    encoder = random_weights(make())
    users = encoder(*histories())
    users.square().sum().backward()
    for weight, parameter in encoder.named_parameters():
        if weight in {"pooling.query.bias", "combination.query.bias"}:  # shifts all energies
            assert parameter.grad is None
            continue
        assert parameter.grad is not None, weight
        assert parameter.grad.isfinite().all(), weight
        assert parameter.grad.abs().sum() > 0, weight


def test_the_recent_clicks_are_the_newest() -> None:
    """Cut at the wrong end, the short-term vector would be of the user's first clicks."""
    torch.manual_seed(0)
    encoder = random_weights(RecentAndAllUser(DIM, 7, head_dim=4, recent=2))
    history, clicked = histories()
    short_term: list[Tensor] = []
    encoder.combination.register_forward_hook(lambda _, given, __: short_term.append(given[0]))
    encoder(history, clicked)
    history[0, :4] += 1.0  # clicks before the newest two
    encoder(history, clicked)
    history[0, 4] += 1.0
    encoder(history, clicked)
    before, older, newer = (each[0, 1] for each in short_term)
    assert torch.equal(before, older)
    assert not torch.allclose(before, newer)


def test_personalised_attention_computes_what_its_paper_says() -> None:
    torch.manual_seed(0)
    attention = random_weights(PersonalisedAttention(DIM, user_dim=4, query_dim=9))
    history, clicked = histories()
    persons = torch.randn(5, 4, dtype=torch.float64)
    pooled = attention(history, clicked, attention.queries(persons))
    weights = dict(attention.state_dict())
    for row in (0, 2, 3, 4):
        expected = plain.personalised(weights, list(history[row][clicked[row]]), persons[row])
        torch.testing.assert_close(pooled[row], expected)
    assert torch.equal(pooled[1], torch.zeros(DIM, dtype=torch.float64))


def test_poly_attention_computes_what_its_paper_says() -> None:
    torch.manual_seed(0)
    poly, matching = random_weights(PolyAttention(DIM, 5, 7)), random_weights(InterestMatching(DIM))
    history, clicked = histories()
    candidates = torch.randn(5, 3, DIM, dtype=torch.float64)
    similarity = torch.randn(5, 3, 6, dtype=torch.float64)
    vectors = poly(history, clicked, similarity)
    scores, alike = matching(vectors, candidates), disagreement(vectors)
    codes, target = dict(poly.state_dict()), dict(matching.state_dict())
    for row in (0, 2, 3, 4):
        real = clicked[row]
        for number in range(3):
            own = plain.interests(
                codes, list(history[row][real]), list(similarity[row, number][real])
            )
            torch.testing.assert_close(vectors[row, number], torch.stack(own))
            expected = plain.matched(target, own, candidates[row, number])
            torch.testing.assert_close(scores[row, number], expected)
            torch.testing.assert_close(alike[row, number], plain.alike(own))


def test_interests_that_point_apart_disagree() -> None:
    """With the sign or the axis wrong, the loss would pull all interests into one."""
    same = torch.ones(3, 4)
    apart = torch.eye(3, 4)
    assert disagreement(same).item() == pytest.approx(1.0)
    assert disagreement(apart).item() == pytest.approx(1 / 3)
    assert disagreement(torch.tensor([[1.0, 0.0], [-2.0, 0.0]])).item() == pytest.approx(0.0)


def test_heads_of_fastformer_are_whole() -> None:
    with pytest.raises(ValueError, match=r"divisible by 3 heads, got 10"):
        FastformerAttention(10, 3)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_published_user_encoders_are_as_large_as_counted_by_hand() -> None:
    """No metric shows a second bias, or a projection that the paper does not have."""
    pooling = 200 * 400 + 200 + 200 + 1  # W, b, q, c
    gru = 3 * (400 * 400 + 400 * 400 + 400 + 400)
    attention = 3 * 400 * 400  # queries, keys, values, without biases
    assert count(RecentAndAllUser(400, 200, 20, 20)) == attention + 2 * pooling + gru + 400
    fastformer = 3 * (256 * 256 + 256) + 2 * 256  # queries, keys, output; w_q and w_k
    assert count(FastformerUser(256, 200, 16, layers=2)) == (
        fastformer + 200 * 256 + 200 + 200 + 1 + 256
    )
    assert count(PersonalisedAttention(400, 50, 200)) == 50 * 200 + 200 + 200 * 400 + 400
    assert count(PolyAttention(256, 32, 200)) == 256 * 200 + 32 * 200
    assert count(InterestMatching(256)) == 256 * 256 + 256
