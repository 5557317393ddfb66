from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import Tiny
from torch import Tensor

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.model import frozen_states
from recbole_tinynews.model.frozen_states import open_frozen_states
from recbole_tinynews.model.news_encoder import NewsEncoder
from recbole_tinynews.model.plm import load_plm

IDS = torch.tensor([1, 2, 3, 4, 5, 6])


@pytest.fixture
def tokens(tiny: Tiny) -> Ragged:
    return tiny.world().model.news_encoder.tokens


@pytest.fixture
def make(tiny: Tiny, tokens: Ragged, tmp_path: Path):
    def encoder(layers: int = 3, finetune_layers: int = 1, **arguments: Any) -> NewsEncoder:
        torch.manual_seed(0)
        return NewsEncoder(
            load_plm(str(tiny.plm), layers),
            arguments.pop("tokens", tokens),
            news_dim=8,
            query_dim=4,
            finetune_layers=finetune_layers,
            dropout=0.0,
            states_folder=tmp_path / "states",
            **arguments,
        )

    return encoder


def tables(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "states").glob("*"))


def computed(encoder: NewsEncoder) -> Tensor:
    with encoder.without_tables():
        return encoder(IDS)


def test_a_second_run_reads_what_the_first_has_stored(make, tmp_path, monkeypatch) -> None:
    """The table is minutes of work, and worth it only if it is found again."""
    first = make()
    expected = first(IDS)
    assert len(tables(tmp_path)) == 1
    second = make()
    monkeypatch.setattr(second, "_compute_states", None)
    assert torch.equal(second(IDS), expected)
    torch.testing.assert_close(computed(second), expected, rtol=1e-5, atol=1e-5)


def test_models_of_another_depth_share_the_layers_that_both_have_frozen(make, tmp_path) -> None:
    """Teacher and student would each store the same hidden states, gigabytes of them."""
    for encoder in (make(layers=3, finetune_layers=1), make(layers=2, finetune_layers=0)):
        torch.testing.assert_close(encoder(IDS), computed(encoder), rtol=1e-5, atol=1e-5)
    assert len(tables(tmp_path)) == 1
    make(layers=3, finetune_layers=2)(IDS)  # one frozen layer fewer
    assert len(tables(tmp_path)) == 2


@pytest.mark.parametrize("how", ["in place", "loaded", "embeddings"])
def test_states_of_other_frozen_weights_are_never_used(make, tmp_path, how) -> None:
    """A teacher's copy is loaded into a built model: its frozen layers may be another's."""
    encoder = make()
    before = encoder(IDS)
    layer = encoder.plm.encoder.layer[0].output.dense.weight
    if how == "in place":
        with torch.no_grad():
            layer.mul_(1.5)
    elif how == "embeddings":
        with torch.no_grad():
            encoder.plm.embeddings.word_embeddings.weight.mul_(1.5)
    else:
        weights = encoder.state_dict()
        name = "plm.encoder.layer.0.output.dense.weight"
        encoder.load_state_dict({**weights, name: weights[name] * 1.5})
    after = encoder(IDS)
    torch.testing.assert_close(after, computed(encoder), rtol=1e-5, atol=1e-5)
    assert (after - before).abs().max() > 1e-3
    assert len(tables(tmp_path)) == 2


def test_states_of_other_texts_are_never_used(make, tokens: Ragged, tmp_path) -> None:
    """A title that was corrected upstream keeps its id, and its number of tokens."""
    make()(IDS)
    values = tokens.values.copy()
    values[tokens.offsets[2] + 1] += 1
    encoder = make(tokens=Ragged(values, tokens.offsets))
    torch.testing.assert_close(encoder(IDS), computed(encoder), rtol=1e-5, atol=1e-5)
    assert len(tables(tmp_path)) == 2


def test_training_the_layers_above_keeps_the_table(make, tmp_path) -> None:
    """A key over all weights would store a table for each step, until the disk is full."""
    encoder = make()
    optimizer = torch.optim.SGD([p for p in encoder.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        encoder(IDS).square().sum().backward()
        optimizer.step()
    torch.testing.assert_close(encoder(IDS), computed(encoder), rtol=1e-5, atol=1e-5)
    assert len(tables(tmp_path)) == 1


def test_without_cache_nothing_is_written(tiny: Tiny, tmp_path) -> None:
    """`use_cache: false` is asked for where the disk is small."""
    world = tiny.world(use_cache=False)
    world.model.encode_news(IDS)
    assert list(tmp_path.rglob("frozen-states*")) == []


def test_where_all_layers_train_nothing_is_written(make, tmp_path) -> None:
    encoder = make(layers=2, finetune_layers="all")
    encoder(IDS)
    assert tables(tmp_path) == []


@pytest.mark.parametrize("damage", ["cut off", "another shape", "not an array"])
def test_a_damaged_table_is_made_anew(make, tmp_path, damage, caplog) -> None:
    """A full disk cuts a file off: a read behind its end kills the process without a word."""
    expected = make()(IDS)
    (place,) = tables(tmp_path)
    if damage == "cut off":
        place.write_bytes(place.read_bytes()[:-4000])
    elif damage == "another shape":
        np.save(place, np.zeros((3, 5), np.float32))
    else:
        place.write_bytes(b"no array at all")
    encoder = make()
    assert torch.equal(encoder(IDS), expected)
    assert "made anew" in caplog.text


def test_an_interrupted_build_leaves_nothing_behind(make, tmp_path, monkeypatch) -> None:
    """Half a table under the final name would be read as a whole one."""
    encoder = make()

    def interrupted(ids: np.ndarray) -> Tensor:
        raise KeyboardInterrupt

    monkeypatch.setattr(encoder, "_compute_states", interrupted)
    with pytest.raises(KeyboardInterrupt):
        encoder(IDS)
    assert tables(tmp_path) == []
    torch.testing.assert_close(make()(IDS), computed(make()), rtol=1e-5, atol=1e-5)


def disk(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    usage = type("Usage", (), {"free": free})()
    monkeypatch.setattr(frozen_states.shutil, "disk_usage", lambda folder: usage)


def test_auto_computes_where_the_disk_is_too_small(make, tokens, tmp_path, monkeypatch) -> None:
    """A memory-mapped file that outgrows the disk ends the process with a bus error."""
    size = len(tokens.values) * 32 * 4
    disk(monkeypatch, free=2 * size - 1)
    encoder = make(check_disk=True)
    torch.testing.assert_close(encoder(IDS), computed(encoder))
    assert tables(tmp_path) == []
    disk(monkeypatch, free=2 * size)
    make(check_disk=True)(IDS)
    assert len(tables(tmp_path)) == 1


def test_auto_uses_a_table_that_is_there_however_full_the_disk(make, monkeypatch) -> None:
    """The table itself has taken the room: the second run would compute everything again."""
    make()(IDS)
    disk(monkeypatch, free=0)
    encoder = make(check_disk=True)
    monkeypatch.setattr(encoder, "_compute_states", None)
    assert encoder(IDS).isfinite().all()


def test_a_table_that_was_asked_for_and_does_not_fit_is_an_error(
    make, tmp_path, monkeypatch
) -> None:
    disk(monkeypatch, free=10)
    with pytest.raises(ValueError, match=r"use_cache=true expects room.*GB"):
        make(check_disk=False)(IDS)
    assert tables(tmp_path) == []


def test_rows_are_padded_with_numbers_and_not_with_what_lies_behind(tmp_path: Path) -> None:
    """Behind the last text lies nothing: an index error, or a neighbour's token."""
    tokens = Ragged.from_rows([[], [1, 2], [3], [4, 5, 6]], np.int32)

    def compute(texts: np.ndarray) -> Tensor:
        return torch.from_numpy(tokens.padded(texts, 0)).float()[..., None].repeat(1, 1, 2)

    states = open_frozen_states(tmp_path, "key", tokens, 2, compute)
    rows = states.rows(np.array([3, 1, 2]), 3)
    assert rows.shape == (3, 3, 2)
    assert rows[..., 0].tolist() == [[4, 5, 6], [1, 2, 2], [3, 3, 3]]
