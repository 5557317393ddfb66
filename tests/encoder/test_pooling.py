from __future__ import annotations

import pytest
import torch
from tiny import Tiny

from recbole_tinynews.encoder.pooling import AttentionPooling, mean_pooling


def test_attention_pooling_is_the_formula_of_the_paper() -> None:
    """`sum_j softmax_j(q . tanh(W x_j + b) + c) x_j`, with values that can be checked by hand."""
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


def test_large_energies_do_not_overflow() -> None:
    """The reference code uses a bare `exp`, which overflows."""
    layer = AttentionPooling(2, 2)
    with torch.no_grad():
        layer.query.weight.fill_(1e4)
    assert layer(torch.randn(1, 5, 2)).isfinite().all()


def test_weights_that_change_no_score_do_not_train(tiny: Tiny) -> None:
    """Adam turns the rounding errors of a gradient that is 0 into steps of the learning rate.

    A run with another number of threads or processes would end with other weights.
    """
    world = tiny.world(finetune_layers="all")
    model, layers = world.model.double().train(), "news_encoder.text_encoder.plm.encoder.layer"
    model.calculate_loss(world.clicked([0, 1, 2])).target.backward()
    weights = dict(model.named_parameters())
    held = ["news_encoder.text_encoder.pooling.query.bias", "user_encoder.pooling.query.bias"]
    held += [f"{layers}.{layer}.attention.self.key.bias" for layer in range(2)]
    assert [name for name in held if weights[name].grad is not None] == []
    assert weights[f"{layers}.0.attention.self.query.bias"].grad.abs().max() > 0
    batch = world.shown([1, 3])
    with torch.no_grad():
        scores = model.predict(batch)
        for name in held:
            weights[name] += 0.5
        torch.testing.assert_close(model.predict(batch), scores, rtol=1e-9, atol=1e-9)


def test_the_bias_of_keys_trains_under_a_loss_on_attention_scores(tiny: Tiny) -> None:
    """TinyBERT compares scores before the softmax, which do depend on it."""
    world = tiny.world("TinyBERT", finetune_layers="all")
    losses = world.model.train().calculate_loss(world.clicked([0, 1, 2]))
    losses.attention.backward()
    layers = world.model.news_encoder.text_encoder.layers
    assert all(layer.attention.self.key.bias.grad.abs().max() > 0 for layer in layers)
