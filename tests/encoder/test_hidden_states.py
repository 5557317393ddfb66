"""Recorded hidden states: those of transformers' own code for padded texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from eager import Reference
from tiny import EMPTY_TITLE, LONG_TITLE, NEWS, SHORT_TITLE, Tiny
from torch import Tensor

from recbole_tinynews.encoder import packing
from recbole_tinynews.encoder.hidden_states import HiddenStates, StateRequest
from recbole_tinynews.encoder.one_text import OneTextEncoder
from recbole_tinynews.encoder.packing import packs

IDS = torch.tensor([[0, 5, LONG_TITLE, 5], [SHORT_TITLE, 9, EMPTY_TITLE, 20]])
TEXTS = [5, 9, 20, EMPTY_TITLE, LONG_TITLE, SHORT_TITLE]  # all but padding
LAYERS, HEADS = 3, 2
ALL = StateRequest(frozenset(range(LAYERS + 1)), frozenset(range(1, LAYERS + 1)))
EXACT = {"rtol": 1e-9, "atol": 1e-9}


def encoder_of(tiny: Tiny, **settings: Any) -> OneTextEncoder:
    return tiny.world(num_hidden_layers=LAYERS, **settings).model.train().news_encoder


def recorded(
    encoder: OneTextEncoder,
    request: StateRequest = ALL,
    ids: Tensor = IDS,
    no_grad: bool = False,
) -> HiddenStates:
    with torch.set_grad_enabled(not no_grad), encoder.record_states(request) as recorder:
        encoder(ids)
    return recorder.states()


def assert_as_transformers(tiny: Tiny, encoder: OneTextEncoder, **tolerance: float) -> None:
    states = recorded(encoder)
    reference = Reference(encoder, tiny.plm)
    with torch.no_grad():
        each = [reference.states(int(text)) for text in states.ids]
    assert sorted(states.ids.tolist()) == sorted(TEXTS)
    for layer, hidden in states.hidden.items():
        expected = torch.cat([state[layer] for state, _, _ in each])
        torch.testing.assert_close(hidden, expected, **tolerance)
    lengths = [len(hidden[0]) for hidden, _, _ in each]
    for layer, scores in states.attention.items():
        expected = torch.cat([of_text[layer - 1] for _, of_text, _ in each])
        torch.testing.assert_close(scores, expected, **tolerance)
        parts = scores.split([length**2 for length in lengths])
        for part, length, (_, _, weights) in zip(parts, lengths, each, strict=True):
            softened = part.view(length, length, HEADS).softmax(dim=1).flatten(0, 1)
            torch.testing.assert_close(softened, weights[layer - 1], **tolerance)
    assert states.hidden.keys() == ALL.hidden
    assert states.attention.keys() == ALL.attention


@pytest.mark.parametrize("layers", [0, 1, "all"])
def test_recorded_states_are_those_of_transformers(tiny: Tiny, layers) -> None:
    """States of other tokens, or scores of another scale, would train a student as well.

    Expected scores come from transformers' queries and keys, and are checked with its softmax.
    """
    encoder = encoder_of(tiny, finetune_layers=layers)
    assert_as_transformers(tiny, encoder.double(), **EXACT)


def test_pad_tokens_that_take_part_in_pooling_are_in_no_state(tiny: Tiny) -> None:
    """Most of a short title would be padding, which would dominate the loss."""
    encoder = encoder_of(tiny, mask_padding_in_news_pooling=False)
    assert (encoder.tokens.values == encoder.text_encoder.pad_token_id).any()
    assert_as_transformers(tiny, encoder.double(), **EXACT)


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_states_with_a_stored_table_are_those_without_it(tiny: Tiny, layers) -> None:
    """Layers below the table are computed only as far as they are recorded; the rest is read."""
    encoder = encoder_of(tiny, finetune_layers=layers, use_cache=True)
    assert_as_transformers(tiny, encoder, rtol=1e-4, atol=1e-4)
    assert encoder._frozen[0] is not None


def test_recording_changes_neither_vectors_nor_gradients(tiny: Tiny) -> None:
    """The attention of a recorded layer is computed by other code."""
    encoder = encoder_of(tiny, finetune_layers="all")
    made = []
    for request in (StateRequest(), ALL):
        encoder.zero_grad()
        with encoder.record_states(request):
            vectors = encoder(IDS)
        vectors.square().sum().backward()
        grads = [
            torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in encoder.parameters()
        ]
        made.append((vectors.detach(), grads))
    torch.testing.assert_close(made[0], made[1], rtol=1e-4, atol=1e-4)


def test_states_are_of_the_pass_that_made_the_vectors(tiny: Tiny) -> None:
    """With dropout, states of a second pass would belong to other scores."""
    encoder = encoder_of(tiny, finetune_layers=2, plm_dropout=0.4)
    with encoder.record_states(ALL) as recorder:
        vectors = encoder(IDS)
    states = recorder.states()
    place = {int(text): row for row, text in enumerate(states.ids)}
    for text, vector in zip(IDS.flatten().tolist(), vectors.flatten(0, 1), strict=True):
        if text in place:
            assert torch.equal(vector, states.vectors[place[text]])
    torch.testing.assert_close(states.vectors, encoder.text_encoder.dense(states.pooled), **EXACT)


@pytest.mark.parametrize(
    ("layers", "hidden", "attention"),
    [(1, {3}, {3}), (2, {2, 3}, {2, 3}), ("all", {0, 1, 2, 3}, {1, 2, 3})],
)
def test_gradients_reach_the_layers_that_train_through_their_states(
    tiny: Tiny, layers, hidden, attention
) -> None:
    """A loss on detached states would be a constant."""
    states = recorded(encoder_of(tiny, finetune_layers=layers))
    assert {layer for layer, state in states.hidden.items() if state.requires_grad} == hidden
    assert {layer for layer, state in states.attention.items() if state.requires_grad} == attention


def test_a_teachers_states_have_the_row_order_of_its_students(tiny: Tiny, monkeypatch) -> None:
    """Another split into packs would pair tokens of different texts."""
    ids = torch.arange(1, NEWS + 1)
    once = recorded(encoder_of(tiny), ids=ids)
    monkeypatch.setattr(packing, "packs", lambda lengths, tokens: packs(lengths, tokens=20))
    teacher = encoder_of(tiny).eval()
    with torch.no_grad():
        often = recorded(teacher, ids=ids)
    assert np.array_equal(once.ids, often.ids)
    for one, other in zip(once[1:3], often[1:3], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(once[3:], often[3:], rtol=1e-4, atol=1e-4)
    assert not often.hidden[3].requires_grad


def test_nothing_is_kept_when_nothing_is_recorded(tiny: Tiny) -> None:
    """A recorder that stays open would fill the memory in a long training."""
    encoder = encoder_of(tiny)
    with encoder.record_states(ALL) as recorder:
        encoder(IDS)
    encoder(IDS)
    assert len(recorder.states().ids) == len(TEXTS)
    with (
        encoder.record_states(ALL) as recorder,
        pytest.raises(ValueError, match="at least one text"),
    ):
        recorder.states()


def test_vectors_of_the_cache_do_not_stand_for_states(tiny: Tiny) -> None:
    """A frozen teacher's articles are encoded ahead: a loss on their states would have none."""
    encoder = encoder_of(tiny).eval()
    computed = recorded(encoder, no_grad=True)
    encoder.encode_ahead(np.arange(NEWS + 1))
    again = recorded(encoder, no_grad=True)
    assert np.array_equal(again.ids, computed.ids)
    torch.testing.assert_close(again[1:], computed[1:], rtol=1e-5, atol=1e-5)
