"""NRMS and LateFusion against plain versions, written from the equations, and counted by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from tiny import EMPTY_TITLE, Tiny, World, titles
from torch import Tensor, nn

from recbole_tinynews.data.fields import CANDIDATES, HISTORY
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.encoder.one_text import OneTextEncoder
from recbole_tinynews.encoder.words import WordEncoder, WordPooling, WordSelfAttention
from recbole_tinynews.model.baselines.nrms import SelfAttentiveUser
from recbole_tinynews.zoo.latefusion import MeanUser

HEAD = 16
Weights = dict[str, Tensor]


def self_attention(weights: Weights, inputs: list[Tensor]) -> list[Tensor]:
    """`h_i = [h_i1; ...]`, `h_ik = V_k sum_j softmax_j(e_i Q_k e_j) e_j`, one output at a time."""
    queries, keys, values = weights["projections.weight"].chunk(3)
    made = []
    for e_i in inputs:
        heads = []
        for k in range(len(queries) // HEAD):
            part = slice(k * HEAD, (k + 1) * HEAD)
            bilinear = queries[part].T @ keys[part] / math.sqrt(HEAD)  # Q_k
            alpha = torch.stack([e_i @ bilinear @ e_j for e_j in inputs]).softmax(0)
            mixed = sum(a * e_j for a, e_j in zip(alpha, inputs, strict=True))
            heads.append(values[part] @ mixed)  # V_k
        made.append(torch.cat(heads))
    return made


def additive_attention(weights: Weights, inputs: list[Tensor]) -> Tensor:
    """`r = sum_i softmax_i(q . tanh(V h_i + v)) h_i`."""
    scores = [
        weights["query.weight"][0]
        @ torch.tanh(weights["projection.weight"] @ h + weights["projection.bias"])
        for h in inputs
    ]
    alpha = torch.stack(scores).softmax(0)
    return sum(a * h for a, h in zip(alpha, inputs, strict=True))


def part_of(module: nn.Module, prefix: str) -> Weights:
    return {
        name.removeprefix(f"{prefix}."): value
        for name, value in module.named_parameters()
        if name.startswith(f"{prefix}.")
    }


def plain_news(model: nn.Module, longest: int) -> list[Tensor]:
    """A vector for each news id; of padding and of an empty title it is zeros."""
    encoder = model.news_encoder.text_encoder
    vectors = []
    for title in ["", *titles()]:
        ids = model.tokenizer.convert_tokens_to_ids(title.split()[:longest])
        words = [encoder.words.weight[word] for word in ids]
        if not words:
            vectors.append(encoder.zeros(1)[0])
            continue
        seen = self_attention(part_of(encoder.context, "attention"), words)
        vectors.append(additive_attention(part_of(encoder.pooling, "attention"), seen))
    return vectors


def plain_user(encoder: nn.Module, clicks: list[Tensor]) -> Tensor:
    if not clicks:
        return encoder.no_clicks.vector
    if isinstance(encoder, MeanUser):
        return sum(clicks) / len(clicks)
    seen = self_attention(part_of(encoder, "self_attention"), clicks)
    return additive_attention(part_of(encoder, "pooling"), seen)


def plain_loss(world: World, batch: Any) -> tuple[Tensor, Tensor]:
    """Scores `[batch, candidates]`, and `-log p` of the first candidate, over the batch."""
    news = plain_news(world.model, world.config["max_title_length"])
    rows, losses = [], []
    for history, candidates in zip(batch[HISTORY], batch[CANDIDATES], strict=True):
        user = plain_user(world.model.user_encoder, [news[n] for n in history.tolist() if n])
        scores = torch.stack([user @ news[n] for n in candidates.tolist()])
        rows.append(scores)
        losses.append(-torch.log(scores[0].exp() / scores.exp().sum()))
    return torch.stack(rows), torch.stack(losses).mean()


@pytest.mark.parametrize("name", ["NRMS", "LateFusion"])
def test_scores_losses_and_gradients_are_those_of_the_equations(tiny: Tiny, name: str) -> None:
    """Packed texts, repeats encoded once and masks would go wrong without changing a shape."""
    world = tiny.world(name, news_dim=32, word_dim=20, word_dropout=0.0)
    model = world.model.double().train()
    batch = world.clicks().collate_fn(range(8))
    shown = {*batch[HISTORY].flatten().tolist(), *batch[CANDIDATES].flatten().tolist()}
    assert {0, EMPTY_TITLE} <= shown, "padding and an empty title are among them"
    scores = model.score(batch).scores
    (loss,) = model.calculate_loss(batch)
    expected_scores, expected = plain_loss(world, batch)
    torch.testing.assert_close(scores, expected_scores, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-10)
    trained = dict(model.named_parameters())
    got, wanted = (
        torch.autograd.grad(each, [*trained.values()], allow_unused=True)
        for each in (loss, expected)
    )
    for each, one, other in zip(trained, got, wanted, strict=True):
        # a constant that the softmax of an attention cancels
        zero = torch.zeros_like(trained[each])
        one, other = (zero if gradient is None else gradient for gradient in (one, other))
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-12, msg=each)


def test_clicks_are_those_of_a_user_with_some_and_none(tiny: Tiny) -> None:
    """Tests the test above: its batch needs users without clicks, and with few."""
    batch = tiny.world("NRMS").clicks().collate_fn(range(8))
    clicks = (batch[HISTORY] != 0).sum(1)
    assert clicks.min() < clicks.max()


WORDS = 1_000
ATTENTION = 256 * 200 + 200 + 200 + 1  # V, v, q and a constant that the softmax cancels
OF_NEWS = WORDS * 300 + 3 * 300 * 256 + ATTENTION


def news_encoder() -> OneTextEncoder:
    words = nn.Embedding(WORDS, 300)
    encoder = WordEncoder(words, WordSelfAttention(300, 256), WordPooling(256, 200), 0.2)
    return OneTextEncoder(encoder, Ragged.from_rows([[]], np.int32))


def size_of(*parts: nn.Module) -> int:
    return sum(p.numel() for part in parts for p in part.parameters())


def test_a_model_is_as_large_as_its_paper_makes_it() -> None:
    """16 heads of 16 over words of 300: a projection behind the heads would be another model."""
    assert size_of(news_encoder()) == OF_NEWS == 582_001
    of_user = 3 * 256 * 256 + ATTENTION + 256  # the last stands for a user without clicks
    assert size_of(news_encoder(), SelfAttentiveUser(256, 200)) == OF_NEWS + of_user == 830_466
    assert size_of(news_encoder(), MeanUser(256)) == OF_NEWS + 256


def test_default_sizes_are_those_of_the_paper(tiny: Tiny) -> None:
    """Values of a data set or of PLM-NR in their place would be another model under its name."""
    from recbole_tinynews.settings.registry import declared_settings, find_model

    found = declared_settings(find_model("NRMS"))
    expected = {
        "news_encoder": "words",
        "word_encoder": "self_attention",
        "word_dim": 300,
        "news_dim": 256,
        "query_dim": 200,
        "word_dropout": 0.2,
        "negatives": 4,
        "train_batch_size": 64,
        "learner": "adam",
        "amsgrad": False,
    }
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize("name", ["NRMS", "LateFusion"])
def test_a_language_model_takes_the_place_of_words_by_a_setting(tiny: Tiny, name: str) -> None:
    world = tiny.world(name, news_encoder="plm")
    (loss,) = world.model.train().calculate_loss(world.clicked(list(range(8))))
    loss.backward()
    layers = world.model.news_encoder.text_encoder.layers
    assert [any(p.grad is not None for p in layer.parameters()) for layer in layers] == [
        False,
        True,
    ]
