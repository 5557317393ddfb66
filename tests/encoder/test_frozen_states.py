from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import Tiny
from torch import Tensor

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.encoder import hidden_states, one_text
from recbole_tinynews.encoder.hidden_states import Storage
from recbole_tinynews.encoder.one_text import OneTextEncoder
from recbole_tinynews.encoder.packing import Pack
from recbole_tinynews.encoder.plm_files import load_plm
from recbole_tinynews.encoder.text_encoder import TextEncoder
from recbole_tinynews.files import array_cache

IDS = torch.tensor([1, 2, 3, 4, 5, 6])


@pytest.fixture
def tokens(tiny: Tiny) -> Ragged:
    return tiny.world().model.news_encoder.tokens


@pytest.fixture
def make(tiny: Tiny, tokens: Ragged, tmp_path: Path):
    def encoder(
        layers: int = 3, finetune_layers: int = 1, tokens: Ragged = tokens, **storage: Any
    ) -> OneTextEncoder:
        torch.manual_seed(0)
        text_encoder = TextEncoder(
            load_plm(str(tiny.plm), layers),
            news_dim=8,
            query_dim=4,
            finetune_layers=finetune_layers,
            dropout=0.0,
        )
        where = Storage(**{"folder": tmp_path / "states", **storage})
        return OneTextEncoder(text_encoder, tokens, storage=where)

    return encoder


def tables(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "states").glob("frozen-states-*/table.npy"))


def computed(encoder: OneTextEncoder) -> Tensor:
    with encoder.without_tables():
        return encoder(IDS)


def test_a_second_run_reads_what_the_first_has_stored(make, tmp_path, monkeypatch) -> None:
    """The table takes minutes to compute, which pays off only if it is found again."""
    first = make()
    expected = first(IDS)
    assert len(tables(tmp_path)) == 1
    second = make()
    monkeypatch.setattr(second, "_compute_frozen", None)
    assert torch.equal(second(IDS), expected)
    torch.testing.assert_close(computed(second), expected, rtol=1e-5, atol=1e-5)


def test_models_of_different_depth_share_the_layers_that_both_freeze(make, tmp_path) -> None:
    """Teacher and student would each store the same hidden states, gigabytes of them."""
    for encoder in (make(layers=3, finetune_layers=1), make(layers=2, finetune_layers=0)):
        torch.testing.assert_close(encoder(IDS), computed(encoder), rtol=1e-5, atol=1e-5)
    assert len(tables(tmp_path)) == 1
    make(layers=3, finetune_layers=2)(IDS)  # one frozen layer fewer
    assert len(tables(tmp_path)) == 2


@pytest.mark.parametrize("how", ["in place", "loaded", "embeddings"])
def test_states_of_other_frozen_weights_are_never_used(make, tmp_path, how) -> None:
    """A teacher's copy is loaded after the model is built, and may have other frozen layers."""
    encoder = make()
    before = encoder(IDS)
    layer = encoder.text_encoder.layers[0].output.dense.weight
    if how == "in place":
        with torch.no_grad():
            layer.mul_(1.5)
    elif how == "embeddings":
        with torch.no_grad():
            encoder.text_encoder.word_embeddings.mul_(1.5)
    else:
        weights = encoder.state_dict()
        name = "text_encoder.plm.encoder.layer.0.output.dense.weight"
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
    """`use_cache: false` is for machines with a small disk."""
    world = tiny.world(use_cache=False)
    world.model.encode_news(IDS)
    assert list(tmp_path.rglob("frozen-states*")) == []


def test_where_all_layers_train_nothing_is_written(make, tmp_path) -> None:
    encoder = make(layers=2, finetune_layers="all")
    encoder(IDS)
    assert tables(tmp_path) == []


def stop_at(encoder: OneTextEncoder, monkeypatch: pytest.MonkeyPatch, pack: int) -> None:
    """Interrupt the build at a pack."""
    plain, computed = encoder._compute_frozen, []

    def interrupted(members: np.ndarray, pack_of_them: Pack) -> Tensor:
        if len(computed) == pack:
            raise KeyboardInterrupt
        computed.append(len(members))
        return plain(members, pack_of_them)

    monkeypatch.setattr(encoder, "_compute_frozen", interrupted)


def test_a_killed_build_is_not_read_and_makes_room_for_the_next(make, tmp_path, monkeypatch):
    """Half a table would be read as a whole one, or stay for an hour: gigabytes of each kill."""
    expected = make(folder=tmp_path / "undisturbed")(IDS)
    monkeypatch.setattr(hidden_states, "TOKENS_AT_ONCE", 24)
    encoder = make()
    with monkeypatch.context() as patch:
        patch.setattr("recbole_tinynews.files.whole.remove", lambda place: None)  # killed before
        stop_at(encoder, patch, pack=6)
        with pytest.raises(KeyboardInterrupt):
            encoder(IDS)
    assert tables(tmp_path) == []
    assert list((tmp_path / "states").glob(".*.partial"))
    torch.testing.assert_close(make()(IDS), expected, rtol=1e-5, atol=1e-5)
    assert not list((tmp_path / "states").glob(".*.partial"))


def test_a_process_waits_for_another_that_makes_the_table(make, tmp_path, monkeypatch) -> None:
    """Two benchmarks in parallel would write into one file, or compute everything twice."""
    first, second = make(), make()
    waiting = threading.Thread(target=lambda: second(IDS))
    plain = first._compute_frozen

    def slow(members: np.ndarray, pack: Pack) -> Tensor:
        if not waiting.is_alive():
            waiting.start()
            waiting.join(0.2)
            assert waiting.is_alive()
        return plain(members, pack)

    monkeypatch.setattr(first, "_compute_frozen", slow)
    monkeypatch.setattr(second, "_compute_frozen", None)  # it would fail if it had to compute
    expected = first(IDS)
    waiting.join()
    assert torch.equal(second(IDS), expected)


def disk(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    usage = type("Usage", (), {"free": free})()
    monkeypatch.setattr(hidden_states.shutil, "disk_usage", lambda folder: usage)


def test_auto_computes_where_the_disk_is_too_small(make, tokens, tmp_path, monkeypatch) -> None:
    """A memory-mapped file that outgrows the disk ends the process with a bus error."""
    size = len(tokens.values) * 32 * 4
    disk(monkeypatch, free=2 * size - 1)
    encoder = make(ample_room=True)
    torch.testing.assert_close(encoder(IDS), computed(encoder))
    assert tables(tmp_path) == []
    disk(monkeypatch, free=2 * size)
    make(ample_room=True)(IDS)
    assert len(tables(tmp_path)) == 1


def test_auto_uses_a_table_that_is_there_however_full_the_disk(make, monkeypatch) -> None:
    """The table itself took the space: the second run would compute everything again."""
    make()(IDS)
    disk(monkeypatch, free=0)
    encoder = make(ample_room=True)
    monkeypatch.setattr(encoder, "_compute_frozen", None)
    assert encoder(IDS).isfinite().all()


@pytest.mark.parametrize("ample", [True, False])
def test_a_table_that_is_refused_makes_room_for_its_replacement(
    make, tokens, tmp_path, monkeypatch, ample
) -> None:
    """One of an earlier version would lie there for good, and none could be made beside it."""
    make()(IDS)
    (place,) = tables(tmp_path)
    (place.parent / "names.json").unlink()
    size = len(tokens.values) * 32 * 4
    disk = type("Disk", (), {"free": property(lambda _: size * (1 if place.is_file() else 2))})()
    monkeypatch.setattr(hidden_states.shutil, "disk_usage", lambda folder: disk)
    encoder = make(ample_room=ample)
    encoder(IDS)
    assert (place.parent / "names.json").is_file()
    assert encoder._frozen_states() is not None


def test_a_table_that_was_asked_for_and_does_not_fit_is_an_error(
    make, tmp_path, monkeypatch
) -> None:
    disk(monkeypatch, free=10)
    with pytest.raises(ValueError, match=r"use_cache=true expects room.*GB"):
        make(ample_room=False)(IDS)
    assert tables(tmp_path) == []


def test_a_full_disk_is_a_clear_error_and_not_a_bus_error(make, tmp_path, monkeypatch) -> None:
    """Other processes may fill the disk after the free space was checked."""

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(array_cache.os, "posix_fallocate", full, raising=False)
    with pytest.raises(OSError, match=r"the disk is full.*use_cache=false"):
        make()(IDS)
    assert not list((tmp_path / "states").glob("*frozen-states*/table.npy"))


@pytest.mark.parametrize(("precision", "tolerance"), [("fp16", 2e-2), ("bf16", 1e-1)])
def test_half_the_disk_holds_nearly_the_same_states(make, tmp_path, precision, tolerance) -> None:
    expected = make()(IDS)
    (whole,) = tables(tmp_path)
    size = whole.stat().st_size
    encoder = make(precision=precision)
    vectors = encoder(IDS).float()
    torch.testing.assert_close(vectors, expected, rtol=tolerance, atol=tolerance)
    assert not torch.equal(vectors, expected)  # else the table was not used
    (half,) = {*tables(tmp_path)} - {whole}
    assert half.stat().st_size < 0.55 * size


@pytest.mark.parametrize(("precision", "native"), [("bf16", True), ("bf16", False), ("fp32", True)])
def test_states_stored_in_bf16_are_computed_in_it_where_that_is_fast(
    make, monkeypatch, precision, native
) -> None:
    """Filling the table of a large language model is most of a run on a CPU."""
    monkeypatch.setattr(one_text, "has_bf16_products", lambda device: native)
    encoder, in_bf16 = make(precision=precision), []
    encode = encoder.text_encoder.encode_frozen

    def record(*given: Any) -> Tensor:
        in_bf16.append(torch.is_autocast_enabled("cpu"))
        return encode(*given)

    monkeypatch.setattr(encoder.text_encoder, "encode_frozen", record)
    encoder(IDS)
    assert in_bf16 == [native and precision == "bf16"]


def test_a_table_that_another_machine_computed_otherwise_is_not_read(
    make, monkeypatch, tmp_path
) -> None:
    """Its states are rounded otherwise, and no rerun would be equal."""
    for native in (True, False):
        monkeypatch.setattr(one_text, "has_bf16_products", lambda device, it=native: it)
        make(precision="bf16")(IDS)
    assert len(tables(tmp_path)) == 2


def test_post_training_stores_titles_and_leaves_bodies(make, tokens, tmp_path) -> None:
    """Bodies are read once: computing their table would take longer than it saves."""
    encoder = make(longest=8)
    torch.testing.assert_close(encoder(IDS), computed(encoder), rtol=1e-5, atol=1e-5)
    assert encoder._frozen[0].layout.lengths.max() == 8
