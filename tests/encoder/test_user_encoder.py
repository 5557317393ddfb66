from __future__ import annotations

import pytest
import torch

from recbole_tinynews.encoder.users import UserEncoder


@pytest.mark.parametrize("kind", ["attention", "self_attention"])
@pytest.mark.parametrize("padding", ["masked", "learned"])
def test_weights_of_clicks_sum_to_one_over_the_clicks_alone(kind, padding) -> None:
    """A slot without a click would take a share that the page shows for no article."""
    torch.manual_seed(0)
    clicked = torch.rand(5, 6) > 0.5
    clicked[0] = False
    weights = UserEncoder(16, 8, kind, padding).eval().click_weights(torch.randn(5, 6, 16), clicked)
    assert (weights[~clicked] == 0).all()
    torch.testing.assert_close(weights.sum(dim=-1), clicked.any(dim=-1).float())


@pytest.mark.parametrize("kind", ["attention", "self_attention"])
def test_a_user_without_history_is_the_learned_vector_in_training_too(kind) -> None:
    """The reference code learns it in training and never uses it in the test."""
    encoder = UserEncoder(16, 8, kind, "masked")
    history, clicked = torch.zeros(2, 3, 16), torch.zeros(2, 3, dtype=torch.bool)
    clicked[1] = True
    for mode in (True, False):
        users = encoder.train(mode)(history, clicked)
        assert torch.equal(users[0], encoder.pad_doc)
        assert not torch.equal(users[1], encoder.pad_doc)
    users.square().sum().backward()
    learning = [p for n, p in encoder.named_parameters() if not n.endswith("query.bias")]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in learning)
    assert encoder.pad_doc.grad.abs().sum() > 0


def test_self_attention_needs_whole_heads() -> None:
    with pytest.raises(ValueError, match=r"divisible by 16.*got 20"):
        UserEncoder(20, 8, "self_attention")
