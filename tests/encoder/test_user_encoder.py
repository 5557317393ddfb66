from __future__ import annotations

import pytest
import torch

from recbole_tinynews.encoder.users import UserEncoder


@pytest.mark.parametrize("kind", ["attention", "self_attention"])
@pytest.mark.parametrize("padding", ["masked", "learned"])
def test_a_user_ignores_the_other_users_of_the_batch(kind, padding) -> None:
    """Attention without `batch_first` mixes users while every shape still fits."""
    torch.manual_seed(0)
    encoder = UserEncoder(16, 8, kind, padding).eval()
    history, clicked = torch.randn(4, 5, 16), torch.rand(4, 5) > 0.4
    clicked[2] = False
    together = encoder(history, clicked)
    assert together.isfinite().all()
    for row in range(4):
        alone = encoder(history[row : row + 1], clicked[row : row + 1])
        torch.testing.assert_close(together[row], alone[0])


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
