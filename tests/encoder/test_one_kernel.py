"""Attention and pooling of a whole row at once, as a GPU computes them, against text by text.

The kernel of texts of variable lengths runs on a GPU alone; here a plain one takes its place, which
is given the same arguments.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny import Tiny
from torch import Tensor
from torch.nn import functional as F

from recbole_tinynews.encoder import attention, pooling
from recbole_tinynews.encoder.attention import Rules, attend_stacked, attend_within_texts
from recbole_tinynews.encoder.packing import PackedTexts, packs

LENGTHS = np.array([1, 3, 3, 7, 18])
HEADS, SIZE = 4, 8


@pytest.fixture
def texts() -> PackedTexts:
    (pack,) = packs(LENGTHS, 99)
    return PackedTexts.of(pack, torch.arange(int(LENGTHS.sum())))


def plain_varlen(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float | None,
    window_size: tuple[int, int],
    enable_gqa: bool,
) -> Tensor:
    """What ``torch.nn.attention.varlen.varlen_attn`` is documented to compute."""
    assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
    assert max_q == max_k == int(cu_seq_q.diff().max())
    if enable_gqa:
        key, value = (each.repeat_interleave(HEADS // key.shape[1], dim=1) for each in (key, value))
    out = []
    for start, end in zip(cu_seq_q[:-1].tolist(), cu_seq_q[1:].tolist(), strict=True):
        place = torch.arange(end - start)
        before = place[:, None] - place[None, :]
        left, right = window_size
        seen = (before <= left) | (left < 0)
        seen &= (-before <= right) | (right < 0)
        parts = (each[start:end].transpose(0, 1) for each in (query, key, value))
        out.append(F.scaled_dot_product_attention(*parts, seen, scale=scale).transpose(0, 1))
    return torch.cat(out)


@pytest.mark.parametrize("body", ["varlen", "nested"])
@pytest.mark.parametrize("shared", [1, 2])
@pytest.mark.parametrize("scale", [None, 0.5])
@pytest.mark.parametrize(("causal", "window"), [(False, None), (True, None), (False, 3), (True, 2)])
def test_one_kernel_gives_what_each_length_by_itself_gives(
    texts: PackedTexts,
    monkeypatch: pytest.MonkeyPatch,
    body: str,
    shared: int,
    scale: float | None,
    causal: bool,
    window: int | None,
) -> None:
    """A token that saw those of its neighbours would give a slightly different vector."""
    tokens = int(LENGTHS.sum())
    heads = HEADS, HEADS // shared, HEADS // shared
    given = [torch.randn(tokens, each, SIZE, requires_grad=True) for each in heads]
    weights = torch.randn(tokens, HEADS, SIZE)
    monkeypatch.setattr(attention, "varlen_attn", lambda: plain_varlen)
    assert attention._fits_flash(given[0].bfloat16())
    assert not attention._fits_flash(given[0])
    # in float32, whose rounding hides nothing
    monkeypatch.setattr(attention, "_fits_flash", lambda queries: body == "varlen")
    made = []
    for devices in (set(), {"cpu"}):
        monkeypatch.setattr(attention, "ONE_KERNEL", devices)
        kernel = attention._one_kernel(given[0], texts, Rules(0.0, scale, causal, window), None)
        takes_all = body == "varlen" or (window is None and not causal)
        assert (kernel is not None) == bool(devices and takes_all)
        context = attend_within_texts(*given, texts, Rules(0.0, scale, causal, window))
        made.append((context, *torch.autograd.grad((context * weights).sum(), given)))
    torch.testing.assert_close(made[0], made[1], rtol=1e-5, atol=1e-5)


def test_dropout_does_not_get_lost_in_one_kernel(
    texts: PackedTexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch's kernel for variable lengths has none."""
    monkeypatch.setattr(attention, "ONE_KERNEL", {"cpu"})
    monkeypatch.setattr(attention, "varlen_attn", lambda: None)
    given = [torch.randn(int(LENGTHS.sum()), HEADS, SIZE) for _ in range(3)]
    with_it, without = (
        attend_within_texts(*given, texts, Rules(dropout)) for dropout in (0.5, 0.0)
    )
    assert not torch.allclose(with_it, without)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_training_on_a_cpu_has_the_gradients_of_plain_operations(
    texts: PackedTexts, dropout: float
) -> None:
    """A wrong backward pass would train something else, and no loss would show it."""
    given = torch.randn(int(LENGTHS.sum()), 3, HEADS, SIZE, requires_grad=True)
    made = []
    for scores in (None, []):  # to collect scores, it takes plain operations
        torch.manual_seed(0)
        context = attend_stacked(given, texts, Rules(dropout), scores)
        made.append((context, *torch.autograd.grad(context.square().sum(), given)))
    assert "TrainedAttention" in made[0][0].grad_fn.name() != made[1][0].grad_fn.name()
    torch.testing.assert_close(made[0], made[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["attention", "mean", "cls"])
@pytest.mark.parametrize("padded", [False, True])
def test_a_news_encoder_is_the_same_with_one_kernel(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, kind: str, padded: bool
) -> None:
    """On a GPU a recommender would rank otherwise than on the CPU that its tests ran on."""
    world = tiny.world(
        news_pooling=kind, finetune_layers="all", mask_padding_in_news_pooling=not padded
    )
    batch = world.clicks().collate_fn(range(8))
    made: list[Any] = []
    for devices in (set(), {"cpu"}):
        for module in (attention, pooling):
            monkeypatch.setattr(module, "ONE_KERNEL", devices)
        world.model.zero_grad()
        (loss,) = world.model.calculate_loss(batch)
        loss.backward()
        gradients = {n: p.grad for n, p in world.model.named_parameters() if p.grad is not None}
        made.append((loss.detach(), gradients))
    torch.testing.assert_close(made[0], made[1], rtol=1e-4, atol=1e-5)
