"""Inner states of teachers that are computed once, compared with those of each step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import EMPTY_TITLE, LONG_TITLE, NEWS, SHORT_TITLE, Tiny

from recbole_tinynews.distillation import teachers
from recbole_tinynews.encoder import hidden_states
from recbole_tinynews.encoder.hidden_states import HiddenStates, StateRequest
from recbole_tinynews.encoder.one_text import OneTextEncoder
from recbole_tinynews.encoder.text_encoder import TextEncoder

IDS = torch.tensor([[0, 5, LONG_TITLE, 5], [SHORT_TITLE, 9, EMPTY_TITLE, 20]])
TAPS = StateRequest(frozenset({1, 3}), frozenset({2, 3}), pooled=True)


def encoder_of(tiny: Tiny, **settings: Any) -> OneTextEncoder:
    return tiny.world(num_hidden_layers=3, **settings).model.eval().news_encoder


@torch.no_grad()
def tapped(encoder: OneTextEncoder, taps: StateRequest = TAPS) -> HiddenStates:
    with encoder.record_states(taps) as tap:
        encoder(IDS)
    return tap.states()


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Passes through the language model."""
    counted: list[int] = []
    plain = TextEncoder.encode
    monkeypatch.setattr(TextEncoder, "encode", lambda *given: counted.append(1) or plain(*given))
    return counted


@pytest.mark.parametrize("encoded", [True, False])
def test_recorded_are_those_that_are_computed(tiny: Tiny, passes: list[int], encoded: bool) -> None:
    """Rows of another text would train a student as well."""
    encoder = encoder_of(tiny)
    computed = tapped(encoder)
    if encoded:
        encoder.encode_ahead(np.arange(NEWS + 1))
    else:
        encoder.train().eval()  # forgets its vectors
    encoder.record_ahead(np.arange(NEWS + 1), TAPS, 0.25)
    passes.clear()
    known = tapped(encoder)
    assert bool(passes) != encoded
    assert np.array_equal(known.ids, computed.ids)
    torch.testing.assert_close(known[1:], computed[1:], rtol=1e-5, atol=1e-5)
    assert not any(part.requires_grad for part in known.hidden.values())


@pytest.mark.parametrize("why", ["other taps", "an unknown text", "new weights", "no memory"])
def test_states_that_are_not_known_are_computed(tiny: Tiny, passes: list[int], why: str) -> None:
    """Outdated or missing ones would be labels of nothing."""
    encoder, taps = encoder_of(tiny), TAPS
    ids = np.arange(NEWS + 1)
    share = 0.0 if why == "no memory" else 0.25
    encoder.record_ahead(ids[ids != 9] if why == "an unknown text" else ids, taps, share)
    if why == "other taps":
        taps = StateRequest(frozenset({2}))
    if why == "new weights":
        with torch.no_grad():
            encoder.text_encoder.dense.weight.mul_(2.0)
    passes.clear()
    states = tapped(encoder, taps)
    assert passes
    encoder._recorded = None
    torch.testing.assert_close(states[1:], tapped(encoder, taps)[1:])


def test_pad_tokens_that_are_encoded_are_in_no_known_state(tiny: Tiny) -> None:
    encoder = encoder_of(tiny, mask_padding_in_news_pooling=False)
    computed = tapped(encoder)
    encoder.record_ahead(np.arange(NEWS + 1), TAPS, 0.25)
    torch.testing.assert_close(tapped(encoder)[1:], computed[1:])


@pytest.mark.parametrize("system", ["TinyBERT", "TinyBERTMT", "MTBERT"])
def test_a_student_under_recorded_ends_with_the_same_weights(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    trained = []
    for share in (0.25, 0.0):
        monkeypatch.setattr(teachers, "MEMORY_SHARE", share)
        torch.manual_seed(4)
        world = tiny.world(system)
        trainer = world.trainer()
        trainer.fit(world.clicks())
        known = [t.news_encoder._recorded is not None for t in trainer.teachers.members]
        assert all(known) if share else not any(known)
        trained.append(world.model.state_dict())
    torch.testing.assert_close(trained[0], trained[1], rtol=1e-3, atol=1e-4)


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's memory may be many times what the container may take before it is killed."""
    monkeypatch.setattr(hidden_states, "CGROUP", tmp_path)
    of_host = hidden_states.free_memory()
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert hidden_states.free_memory() == pytest.approx(of_host, rel=0.2)
    (tmp_path / "memory.max").write_text("5000\n")
    assert hidden_states.free_memory() == 4000
