"""How texts and samples of a batch are shared out, seen from each of the processes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import Tiny

from recbole_tinynews.data.articles import MaskedNews, MaskedTextDataLoader
from recbole_tinynews.data.dataloader import BatchArticles
from recbole_tinynews.data.fields import CANDIDATES, HISTORY, LENGTHS, TOKENS, TRUTH
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


def test_parts_of_texts_tokens_and_pairs_add_up_to_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses on hidden states are means over these; pad tokens are not compared."""
    ids = np.arange(5, 150)
    found = shares(monkeypatch, ids)
    for name in ("texts", "tokens", "pairs"):
        assert sum(each[name] for each in found) == pytest.approx(1)
    real = [(row != PAD).sum() for row in map(texts().row, ids)]
    own = ids[share_texts(texts().lengths[ids], Group(0, 3))[1]]
    pairs = np.square([(texts().row(i) != PAD).sum() for i in own]).sum()
    assert found[1]["pairs"] == pytest.approx(pairs / np.square(real).sum())


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


@pytest.mark.parametrize("samples", [1, 2, 8])
def test_the_samples_of_all_processes_are_those_of_the_batch(tiny: Tiny, samples: int) -> None:
    """RecBole's sampler repeats rows to fill up the last batch."""
    world = tiny.world()
    whole = world.clicks().collate_fn(range(samples))
    counted, found = 0.0, []
    for group in groups(3):
        loader = world.clicks()
        loader.group = group
        part = loader.collate_fn(range(samples))
        counted += part.shares["samples"]
        assert part.shares["samples"] == pytest.approx(
            len(part[HISTORY]) / samples if part.shares["samples"] else 0
        )
        if part.shares["samples"]:
            found.append(part)
        shown = torch.cat([whole[HISTORY], whole[CANDIDATES]], dim=1)
        np.testing.assert_array_equal(part.articles.ids, np.unique(shown.numpy()))
    assert counted == pytest.approx(1)
    for field, values in whole.interaction.items():
        assert torch.equal(torch.cat([part[field] for part in found]), values)


@pytest.mark.parametrize("samples", [1, 2, 8])
def test_the_masked_texts_of_all_processes_are_those_of_the_batch(tiny: Tiny, samples: int) -> None:
    """A text masked anew in each process would be another one."""
    world = tiny.world("PLMNRTAPT")
    data = MaskedNews.read(world.config, world.train, world.model.tokenizer)

    def loader(group: Group | None = None) -> MaskedTextDataLoader:
        made = MaskedTextDataLoader(world.config, data, data.train_texts)
        made.group = group or made.group
        return made

    whole = loader().collate_fn(range(samples))
    parts = [loader(group).collate_fn(range(samples)) for group in groups(3)]
    taken = [part for part in parts if part.shares["samples"]]
    assert sum(part.shares["samples"] for part in parts) == pytest.approx(1)
    assert sum(len(part[TRUTH]) for part in taken) == len(whole[TRUTH])
    assert sorted(len(part[LENGTHS]) for part in parts)[-1] <= -(-samples // 3)
    tokens = Ragged.from_lengths(whole[TOKENS].numpy(), whole[LENGTHS].numpy())
    known = {tokens.row(row).tobytes() for row in range(tokens.rows)}
    for part in parts:
        own = Ragged.from_lengths(part[TOKENS].numpy(), part[LENGTHS].numpy())
        assert {own.row(row).tobytes() for row in range(own.rows)} <= known


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
