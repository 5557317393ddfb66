"""What each of several processes asserts about values that come from all of them."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from recbole_tinynews.encoder import news_encoder
from recbole_tinynews.encoder.news_encoder import in_shares
from recbole_tinynews.encoder.packing import packs
from recbole_tinynews.processes.group import (
    all_gather_object,
    all_reduce,
    broadcast,
    broadcast_weights,
    gather_array,
    gather_rows,
    join,
    leave,
    process_group,
    sum_gradients,
)


def rows_and_their_gradients(rank: int, size: int) -> None:
    """As if all rows had been in one tensor, on which each process had a loss of its own."""
    counts = [(3 * number + 1) % 4 for number in range(size)]  # 1, 0, 3
    every = [
        torch.arange(2.0 * n, dtype=torch.float64).view(n, 2) + 10 * r for r, n in enumerate(counts)
    ]
    whole = torch.cat(every).requires_grad_()
    losses = sum(((number + 1) * whole**3).sum() for number in range(size))
    losses.backward()
    surplus = torch.full((1, 2), float("nan"), dtype=torch.float64)  # is ignored
    own = torch.cat([every[rank], surplus]).requires_grad_()
    gathered = gather_rows(own, counts)
    assert torch.equal(gathered, whole)
    ((rank + 1) * gathered**3).sum().backward()
    before = sum(counts[:rank])
    expected = whole.grad[before : before + counts[rank]]
    torch.testing.assert_close(own.grad[:-1], expected)
    assert (own.grad[-1] == 0).all()


def gradients_of_weights(rank: int, size: int) -> None:
    """One that no process has stays away, one that some have is there in all."""
    kinds = torch.float64, torch.float32, torch.float64, torch.float64
    weights = [nn.Parameter(torch.ones(2, 3, dtype=kind)) for kind in kinds]
    weights[3].requires_grad_(False)
    weights[0].grad = torch.full((2, 3), rank + 1.0, dtype=torch.float64)
    if rank == size - 1:
        weights[1].grad = torch.full((2, 3), 5.0)
    sum_gradients(weights)
    assert (weights[0].grad == size * (size + 1) / 2).all()
    assert (weights[1].grad == 5).all()
    assert weights[2].grad is None
    assert weights[3].grad is None


def plain_values(rank: int, size: int) -> None:
    assert all_gather_object({"rank": rank, "text": "ü" * rank}) == [
        {"rank": number, "text": "ü" * number} for number in range(size)
    ]
    assert broadcast(f"of {rank}", patient=True) == "of 0"
    own = np.arange(rank, dtype=np.float64) if rank else np.empty(0, np.float32)
    expected = np.concatenate([np.arange(number, dtype=np.float64) for number in range(size)])
    np.testing.assert_array_equal(gather_array(own), expected)
    assert gather_array(own).dtype == np.float64
    assert gather_array(np.array([rank == 1])).tolist() == [number == 1 for number in range(size)]
    assert all_reduce(torch.tensor([1.0, rank])).tolist() == [size, size * (size - 1) / 2]


def weights_of_the_first(rank: int, size: int) -> None:
    torch.manual_seed(rank)
    layer = nn.Linear(3, 2)
    broadcast_weights(layer)
    torch.manual_seed(0)
    assert torch.equal(layer.weight, nn.Linear(3, 2).weight)


def packs_in_shares(rank: int, size: int) -> None:
    """All get what each would have computed alone, though none computes all."""
    lengths = np.array([3, 5, 1, 4, 2, 5, 3, 0] * 2)
    packed = packs(lengths, 6)
    news_encoder.TEXTS_IN_A_ROUND = 8  # two packs of each process: several rounds
    asked = []

    def encode(pack):
        asked.append(pack)
        return torch.from_numpy(pack.members[:, None] * np.array([1.0, 10.0]))

    made = [*in_shares(packed, encode, torch.empty(0, 2, dtype=torch.float64))]
    assert len(asked) < len(packed)
    assert [part[:, 0].tolist() for part in made] == [pack.members.tolist() for pack in packed]


if __name__ == "__main__":
    join(torch.device("cpu"), timeout=60)
    for check in (
        rows_and_their_gradients,
        gradients_of_weights,
        plain_values,
        weights_of_the_first,
        packs_in_shares,
    ):
        check(*process_group())
    leave()
