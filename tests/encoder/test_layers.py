from __future__ import annotations

import pytest
import torch

from recbole_tinynews.encoder.layers import AttentionPooling, Dropout, mean_pooling
from recbole_tinynews.encoder.user_encoder import UserEncoder


def test_attention_pooling_is_the_formula_of_the_paper() -> None:
    """`sum_j softmax_j(q . tanh(W x_j + b) + c) x_j` with values that a reader can follow."""
    layer = AttentionPooling(dim=1, query_dim=1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(1.0)
    inputs = torch.tensor([[[0.0], [1.0], [50.0]]])
    mask = torch.tensor([[True, True, False]])
    first, second = (torch.tensor(float(x + 1)).tanh().add(1).exp() for x in (0, 1))
    assert layer(inputs, mask).item() == pytest.approx(float(second / (first + second)))


@pytest.mark.parametrize("pool", [AttentionPooling(4, 3), mean_pooling])
def test_a_row_of_nothing_but_padding_is_zeros_with_a_gradient(pool) -> None:
    """One NaN in a batch makes every weight NaN, and a softmax over nothing is NaN."""
    inputs = torch.randn(2, 3, 4, requires_grad=True)
    mask = torch.tensor([[True, False, True], [False, False, False]])
    pooled = pool(inputs, mask)
    assert (pooled[1] == 0).all()
    pooled.sum().backward()
    assert inputs.grad.isfinite().all()
    assert (inputs.grad[~mask] == 0).all()


@pytest.mark.parametrize("pool", [AttentionPooling(4, 3), mean_pooling])
def test_what_is_masked_does_not_count(pool) -> None:
    inputs = torch.randn(1, 3, 4)
    mask = torch.tensor([[True, True, False]])
    torch.testing.assert_close(pool(inputs, mask), pool(inputs[:, :2]))
    inputs[:, 2] = 1e6
    torch.testing.assert_close(pool(inputs, mask), pool(inputs[:, :2]))


def test_large_energies_do_not_overflow() -> None:
    """The reference code takes a bare `exp`."""
    layer = AttentionPooling(2, 2)
    with torch.no_grad():
        layer.query.weight.fill_(1e4)
    assert layer(torch.randn(1, 5, 2)).isfinite().all()


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
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())
    assert encoder.pad_doc.grad.abs().sum() > 0


def test_self_attention_needs_whole_heads() -> None:
    with pytest.raises(ValueError, match=r"divisible by 16.*got 20"):
        UserEncoder(20, 8, "self_attention")


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_drops_as_many_as_it_should_and_keeps_the_mean(probability, dtype) -> None:
    """Too few dropped, or not scaled up, trains another model than it says."""
    torch.manual_seed(0)
    inputs = torch.ones(1001, 999, dtype=dtype, requires_grad=True)
    outputs = Dropout(probability)(inputs)
    dropped = (outputs == 0).float().mean().item()
    assert abs(dropped - probability) < 5 * (probability * (1 - probability) / 1e6) ** 0.5
    assert torch.allclose(outputs[outputs != 0].float(), torch.tensor(1 / (1 - probability)), 1e-2)
    outputs.sum().backward()
    assert torch.equal(inputs.grad, outputs.detach())
    # neither rows nor columns drop together, and the next mask is another one
    for axis in (0, 1):
        share = (outputs == 0).float().mean(axis)
        assert (share - probability).abs().max() < 0.1
    assert not torch.equal(Dropout(probability)(inputs), outputs)


def test_dropout_is_decided_by_the_seed_and_off_in_evaluation() -> None:
    """A stopped run goes on with the random numbers that it would have drawn."""
    inputs = torch.randn(7, 5)
    masks = []
    for _ in range(2):
        torch.manual_seed(3)
        masks.append(Dropout(0.3)(inputs))
    assert torch.equal(*masks)
    assert torch.equal(Dropout(0.3).eval()(inputs), inputs)
    assert torch.equal(Dropout(0.0)(inputs), inputs)
    assert (Dropout(1.0)(inputs) == 0).all()
