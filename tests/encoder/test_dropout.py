from __future__ import annotations

import pytest
import torch

from recbole_tinynews.encoder.attention import Dropout


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_drops_as_many_as_it_should_and_keeps_the_mean(probability, dtype) -> None:
    """Too few dropped, or a missing scale, would be another dropout rate than the setting's."""
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
    """A resumed run must draw the same random numbers as one that was not stopped."""
    inputs = torch.randn(7, 5)
    masks = []
    for _ in range(2):
        torch.manual_seed(3)
        masks.append(Dropout(0.3)(inputs))
    assert torch.equal(*masks)
    assert torch.equal(Dropout(0.3).eval()(inputs), inputs)
    assert torch.equal(Dropout(0.0)(inputs), inputs)
    assert (Dropout(1.0)(inputs) == 0).all()
    assert Dropout(1 - 1e-6)(inputs).isfinite().all()  # rounds to 1
