"""How texts and samples of a batch are shared out, seen from each of the processes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import Tiny

from recbole_tinynews.data.dataloader import BatchArticles
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.encoder import one_text
from recbole_tinynews.encoder.one_text import OneTextEncoder
from recbole_tinynews.encoder.packing import share_texts
from recbole_tinynews.encoder.text_encoder import TextVectors
from recbole_tinynews.processes.group import Group

PAD = 0


def groups(size: int) -> list[Group]:
    return [Group(rank, size) for rank in range(size)]


def texts() -> Ragged:
    random = np.random.default_rng(2)
    lengths = random.integers(1, 30, 200)
    lengths[[0, 7]] = 0
    values = random.integers(1, 50, lengths.sum())
    values[random.random(len(values)) < 0.1] = PAD
    return Ragged.from_lengths(values, lengths)


@pytest.mark.parametrize("size", [2, 3, 7])
def test_each_text_is_encoded_by_one_process_and_none_waits_for_another(size: int) -> None:
    """A text that two encode costs time; one that nobody encodes is a vector of zeros."""
    ids = np.arange(5, 150)
    lengths = texts().lengths
    own = [ids[part] for part in share_texts(lengths[ids], Group(0, size))]
    assert np.sort(np.concatenate(own)).tolist() == [i for i in ids if lengths[i]]
    tokens = [lengths[each].sum() for each in own]
    assert max(tokens) - min(tokens) <= lengths.max()


def shares(monkeypatch: pytest.MonkeyPatch, ids: np.ndarray) -> list[dict[str, float]]:
    """Those of three processes."""
    found = []
    for group in groups(3):
        monkeypatch.setattr(one_text, "process_group", lambda group=group: group)
        found.append(OneTextEncoder(TextVectors(), texts()).shares(ids))
    return found


def test_a_process_without_a_text_encodes_one_that_counts_nothing(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, its graph would lack the exchange that the others wait for."""
    assert shares(monkeypatch, np.array([3, 7, 9]))[2] == {"texts": 0, "tokens": 0, "pairs": 0}
    encoder, ids = tiny.world().model.train().news_encoder, np.array([3, 5])
    gathered = []

    def gather_rows(own: torch.Tensor, counts: list[int]) -> torch.Tensor:
        gathered.append((len(own), counts))
        return own.new_zeros(sum(counts), own.shape[1]) + own.sum()

    monkeypatch.setattr(one_text, "gather_rows", gather_rows)
    for group in groups(3):
        monkeypatch.setattr(one_text, "process_group", lambda group=group: group)
        with encoder.of_batch(BatchArticles(ids, ids)):
            assert encoder.encode_distinct(ids).requires_grad
    assert gathered == [(1, [1, 1, 0])] * 3


def test_batches_of_an_evaluation_stay_whole_and_in_order(tiny: Tiny) -> None:
    """Of an impression that is cut, no metric can be computed."""
    loader = tiny.world().impressions()
    whole = [batch[0] for batch in loader]
    found = []
    for group in groups(3):
        loader.group = group
        own = [batch[0] for batch in loader]
        assert len(own) == len(loader)
        found += own
    assert len(found) == len(whole)
    for one, other in zip(found, whole, strict=True):
        for field, values in other.interaction.items():
            assert torch.equal(one[field], values)
    loader.group = Group(0, 99)  # more processes than batches
    assert len(loader) == 0
    assert loader  # else RecBole would skip the evaluation, which is everybody's
