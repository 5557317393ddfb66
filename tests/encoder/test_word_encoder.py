"""The encoder of word vectors on the ways that other devices and precisions take."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import EMPTY_TITLE, Tiny

from recbole_tinynews.encoder import attention, pooling
from recbole_tinynews.trainer.optimization import autocast_dtype


@pytest.mark.parametrize("context", ["cnn", "self_attention"])
def test_one_kernel_for_all_texts_gives_what_each_length_gives(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, context: str
) -> None:
    """A GPU takes all texts of a row at once: its losses and gradients would be another model's."""
    world = tiny.world("NRMS", word_encoder=context, word_dropout=0.0, news_dim=32)
    batch, made = world.clicks().collate_fn(range(8)), []
    for devices in (set(), {"cpu"}):
        for module in (attention, pooling):
            monkeypatch.setattr(module, "ONE_KERNEL", devices)
        world.model.zero_grad()
        (loss,) = world.model.calculate_loss(batch)
        loss.backward()
        made.append([loss, *(p.grad for p in world.model.parameters() if p.grad is not None)])
    assert len(made[0]) == len(made[1]) > 8
    for one, other in zip(*made, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("views", [["title"], ["title", "abstract", "category"]])
def test_half_precision_gives_nearly_the_same_vectors(tiny: Tiny, views: list[str]) -> None:
    """A type that two parts of an encoder don't share ends in a traceback, on a GPU alone."""
    world = tiny.world("NRMS", views=views)
    encoder, ids = world.model.eval().news_encoder, np.array([EMPTY_TITLE, 5, 9, 20])
    exact = encoder.encode_distinct(ids)
    with torch.autocast("cpu", dtype=autocast_dtype("bf16", torch.device("cpu"))):
        rounded = encoder.encode_distinct(ids)
        losses = world.model.train().calculate_loss(world.clicks().collate_fn(range(8)))
    torch.testing.assert_close(rounded.float(), exact, rtol=0.1, atol=0.05)
    sum(losses).backward()
    assert all(p.grad.isfinite().all() for p in world.model.parameters() if p.grad is not None)
