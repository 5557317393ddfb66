"""The fast encoder, compared with the plain one: the same losses, gradients and weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from naive import NaivePLMNR
from recbole.data.interaction import Interaction
from tiny import EMPTY_TITLE, LONG_TITLE, MAX_TITLE, SHORT_TITLE, Tiny, World, titles, write_dataset
from torch import Tensor, nn

from recbole_tinynews.data.fields import TEACHERS
from recbole_tinynews.model.interface import Encoded, Outputs
from recbole_tinynews.model.recommender import NewsRecommender

Loss = Callable[[Interaction], Tensor]
EXACT = {"rtol": 1e-9, "atol": 1e-9}
HISTORY = torch.tensor(
    [
        [0, 0, 5, LONG_TITLE, LONG_TITLE, SHORT_TITLE],  # a repeat
        [0, 0, 0, 0, 0, 0],
        [8, 9, 10, 11, 12, 13],
        [0, 0, 0, 0, 0, EMPTY_TITLE],
        [0, 0, 5, 5, 5, 5],
    ]
)
CANDIDATES = torch.tensor(
    [
        [LONG_TITLE, 20, EMPTY_TITLE, 21],  # one stands in the history too
        [EMPTY_TITLE, 5, 22, 22],
        [23, 24, 25, 26],
        [SHORT_TITLE, LONG_TITLE, 8, 9],
        [27, 5, 28, 29],
    ]
)


def batch() -> Interaction:
    return Interaction(
        {
            "history": HISTORY,
            "candidates": CANDIDATES,
            "label": torch.zeros(len(HISTORY), dtype=torch.long),
        }
    )


def pair(tiny: Tiny, **settings: Any) -> tuple[World, NewsRecommender, NaivePLMNR]:
    """The fast and the plain model with equal weights, in float64."""
    world = tiny.world("PLMNR", **settings)
    model = world.model.double().train()
    return world, model, NaivePLMNR(model, world.config, titles())


def assert_equal_gradients(model: NewsRecommender, naive: NaivePLMNR, **tolerance: float) -> None:
    fast = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    plain = {n: p.grad for n, p in naive.named().items() if p.requires_grad}
    assert fast.keys() == plain.keys()
    for name in fast:
        if fast[name] is plain[name] is None:
            continue
        either = plain[name] if fast[name] is None else fast[name]
        gradient, expected = (
            torch.zeros_like(either) if each is None else each for each in (fast[name], plain[name])
        )
        torch.testing.assert_close(
            gradient, expected.to(gradient.dtype), **tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )


def assert_same(tiny: Tiny, **settings: Any) -> None:
    _, model, naive = pair(tiny, **settings)
    loss, expected = model.calculate_loss(batch()).target, naive.loss(HISTORY, CANDIDATES)
    torch.testing.assert_close(loss, expected, **EXACT)
    loss.backward()
    expected.backward()
    assert_equal_gradients(model, naive, **EXACT)


@pytest.mark.parametrize(
    ("pooling", "layers"),
    [*(("attention", n) for n in (0, 1, 2, "all")), ("mean", 2), ("mean", "all"), ("cls", 1)],
)
def test_saved_work_changes_neither_loss_nor_gradient(
    tiny: Tiny, pooling: str, layers: int | str
) -> None:
    """Each saving is exact in theory; a wrong mask or place would train something else."""
    assert_same(tiny, num_hidden_layers=3, finetune_layers=layers, news_pooling=pooling)


@pytest.mark.parametrize("use_cache", [True, False])
def test_clicks_of_an_impression_share_its_history_in_one_pass(
    tiny: Tiny, tmp_path: Path, use_cache: bool
) -> None:
    """Each click repeats the history: encoded again, nothing would be gained by their batch."""
    two = tiny._replace(data=write_dataset(tmp_path, clicks=2))
    world, model, naive = pair(two, group_clicks=True, use_cache=use_cache)
    loader = world.clicks()
    shared = next(iter(loader))
    ids = torch.cat([shared["history"], shared["candidates"]], dim=1)
    assert len(shared["history"].unique(dim=0)) <= len(ids) / 2 + 1
    loss, expected = (
        model.calculate_loss(shared).target,
        naive.loss(shared["history"], shared["candidates"]),
    )
    assert model.news_encoder.text_encoder.trained_texts == len(ids[ids > 0].unique())
    exact = {"rtol": 1e-5, "atol": 1e-5} if use_cache else EXACT  # stored states are fp32
    torch.testing.assert_close(loss, expected, **exact)
    loss.backward()
    expected.backward()
    assert_equal_gradients(model, naive, **exact)


@pytest.mark.parametrize("layers", [1, "all"])
def test_roberta_is_read_as_transformers_reads_it(tiny: Tiny, roberta_folder: Path, layers) -> None:
    """Its padding has another id, and its positions are counted from there."""
    assert_same(tiny._replace(plm=roberta_folder), num_hidden_layers=3, finetune_layers=layers)


@pytest.mark.parametrize("pooling", ["attention", "mean", "cls"])
def test_pad_tokens_take_part_where_they_are_asked_to(tiny: Tiny, pooling) -> None:
    """Results are comparable with the reference code's only if every title has its length."""
    assert_same(tiny, mask_padding_in_news_pooling=False, news_pooling=pooling)


def test_pad_tokens_that_take_part_are_counted_to_the_limit_and_not_to_the_longest_title(
    tiny: Tiny,
) -> None:
    """A data set of short titles would be pooled differently from the reference code."""
    world = tiny.world(mask_padding_in_news_pooling=False, max_title_length=39)
    assert set(world.model.news_encoder.tokens.lengths.tolist()) == {0, 39}
    assert_same(tiny, mask_padding_in_news_pooling=False, max_title_length=39)


@pytest.mark.parametrize("padding", ["masked", "learned"])
@pytest.mark.parametrize("user_encoder", ["attention", "self_attention"])
def test_empty_history_slots_do_what_the_setting_says(tiny: Tiny, padding, user_encoder) -> None:
    """The reference code masks them in training and not in the test, which is a defect."""
    assert_same(tiny, history_padding=padding, user_encoder=user_encoder)


STEPS = 8
# A softmax does not depend on them: their true gradient is 0, and Adam would amplify its noise.
WITHOUT_GRADIENT = ("key.bias", "pooling.query.bias")


def train_side_by_side(
    world: World, ours: Loss, theirs: Loss, parameters: Sequence[list[nn.Parameter]]
) -> None:
    """Train both on the same batches, one of them with repeats and empty histories."""
    optimizers = [torch.optim.Adam(each, lr=1e-3, amsgrad=True) for each in parameters]
    loader, step = world.clicks(), 0
    while step < STEPS:
        loader.set_epoch(step)
        for each in [*loader, batch()][: STEPS - step]:
            losses = ours(each), theirs(each)
            torch.testing.assert_close(losses[0].double(), losses[1], rtol=1e-4, atol=1e-4)
            for optimizer, loss in zip(optimizers, losses, strict=True):
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            step += 1


def train_both(world: World, model: Any, naive: NaivePLMNR) -> None:
    train_side_by_side(
        world,
        lambda each: model.calculate_loss(each).target,
        lambda each: naive.loss(each["history"], each["candidates"]),
        (learning(model), learning(naive)),
    )


def learning(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


@pytest.mark.parametrize("layers", [1, "all"])  # the student's test below takes 2
def test_the_weights_after_many_steps_are_the_same(tiny: Tiny, layers) -> None:
    """An error too small for one gradient grows with each step."""
    world, model, naive = pair(tiny, num_hidden_layers=3, finetune_layers=layers)
    train_both(world, model, naive)
    plain = naive.named()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter, plain[name], **EXACT)


def test_a_student_has_the_same_weights_after_many_steps(tiny: Tiny) -> None:
    """A student's losses compare news vectors too, not only scores."""
    world = tiny.world("TinyNewsRec", num_hidden_layers=3, finetune_layers=2)
    model = world.model.double().train()
    naive = NaivePLMNR(model, world.config, titles())
    distillation = copy.deepcopy(model.distillation)
    teachers = world.teachers().double()

    def labelled(each: Interaction) -> Interaction:
        each[TEACHERS] = teachers.outputs(each)
        return each

    def plain_loss(each: Interaction) -> Tensor:
        history, candidates = naive.encode_news(each["history"]), each["candidates"]
        history = history * (each["history"] != 0).unsqueeze(-1)
        vectors = naive.encode_news(candidates)
        user = naive.encode_user(history, each["history"] != 0)
        scores = torch.einsum("bcd,bd->bc", vectors, user)
        real = torch.cat([each["history"], candidates], dim=1) != 0
        news = Encoded(torch.cat([history, vectors], dim=1), real, history.shape[1])
        losses = distillation(Outputs(scores, user, news), each[TEACHERS], each["label"])
        return torch.stack(losses).sum()

    train_side_by_side(
        world,
        lambda each: torch.stack(model.calculate_loss(labelled(each))).sum(),
        plain_loss,  # the batch is labelled by then
        (learning(model), [*learning(naive), *learning(distillation)]),
    )
    plain = naive.named() | {f"distillation.{n}": p for n, p in distillation.named_parameters()}
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter, plain[name], **EXACT)


def test_training_from_stored_states_stays_within_the_noise_of_float32(tiny: Tiny) -> None:
    """With a table that is slightly wrong, or of other weights, training drifts away."""
    world = tiny.world("PLMNR", num_hidden_layers=3, finetune_layers=1, use_cache=True)
    model = world.model.train()
    naive = NaivePLMNR(model, world.config, titles()).double()
    train_both(world, model, naive)
    assert len(list(world.train.cache_dir.glob("frozen-states-*/table.npy"))) == 1
    plain = naive.named()
    for name, parameter in model.named_parameters():
        if not name.endswith(WITHOUT_GRADIENT):
            torch.testing.assert_close(parameter.double(), plain[name].double(), rtol=0, atol=2e-4)


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_stored_states_of_frozen_layers_change_neither_loss_nor_gradient(
    tiny: Tiny, layers
) -> None:
    """In float32, as the table is."""
    settings = {"num_hidden_layers": 3, "finetune_layers": layers, "use_cache": True}
    world = tiny.world("PLMNR", **settings)
    model = world.model.train()
    naive = NaivePLMNR(model, world.config, titles()).double()
    loss = model.calculate_loss(batch()).target
    assert len(list(world.train.cache_dir.glob("frozen-states-*/table.npy"))) == 1
    expected = naive.loss(HISTORY, CANDIDATES)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5)
    loss.backward()
    expected.backward()
    assert_equal_gradients(model, naive, rtol=1e-4, atol=1e-5)


def test_dropout_of_trained_layers_is_on(tiny: Tiny) -> None:
    """The reference code never switches to training mode, and nothing would show it here either."""
    model = tiny.world(plm_dropout=0.5, finetune_layers=1).model.train()
    first, second = (model.calculate_loss(batch()).target.detach() for _ in range(2))
    assert first != second


def test_a_title_longer_than_the_model_reads_is_refused_before_training(
    tiny: Tiny, roberta_folder: Path
) -> None:
    """RoBERTa reads 2 tokens fewer than it has positions: an index error after minutes."""
    with pytest.raises(ValueError, match=r"at most 38 tokens.*max_title_length"):
        tiny._replace(plm=roberta_folder).world(
            max_title_length=39, mask_padding_in_news_pooling=False
        )
    assert MAX_TITLE < 38


@torch.no_grad()
def test_news_encoded_ahead_are_read_and_are_those_encoded_when_asked_for(
    tiny: Tiny, monkeypatch
) -> None:
    """A vector under a neighbour's id would be noticed in no test of speed."""
    model = tiny.world(num_hidden_layers=3).model.eval()
    asked_for = model.encode_news(CANDIDATES)
    encoder = tiny.world(num_hidden_layers=3).model.news_encoder.eval()
    encoder.encode_ahead(np.arange(1, 41))
    monkeypatch.setattr(encoder, "encode_pack", None)  # nothing is computed again
    encoder.encode_ahead(np.arange(1, 41, 2))
    torch.testing.assert_close(encoder(CANDIDATES), asked_for, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_what_was_asked_for_before_changes_no_bit_of_what_is_encoded_ahead(tiny: Tiny) -> None:
    """A stopped run, which was asked for other articles before, would end with other weights."""
    ids = np.arange(2, 30)
    fresh = tiny.world().model.news_encoder.eval()
    fresh.encode_ahead(ids)
    other = tiny.world().model.news_encoder.eval()
    other(CANDIDATES)
    other.encode_ahead(ids)
    other(torch.tensor([LONG_TITLE, 35, 36]))  # encoded when asked for, among some that are there
    every = torch.from_numpy(ids)
    assert torch.equal(fresh(every), other(every))


def test_vectors_encoded_ahead_are_dropped_with_the_first_step(tiny: Tiny) -> None:
    """The second validation would measure the first one's weights."""
    encoder = tiny.world(finetune_layers=1).model.news_encoder.eval()
    encoder.encode_ahead(np.arange(1, 41))
    with torch.no_grad():
        before = encoder(CANDIDATES)
        encoder.text_encoder.dense.weight.mul_(1.5)
        assert not torch.allclose(encoder(CANDIDATES), before)


def test_vectors_of_earlier_steps_stand_for_clicks_alone_and_not_for_long(
    tiny: Tiny, monkeypatch
) -> None:
    """Candidates without a gradient teach nothing; old vectors are of outdated weights."""
    model = tiny.world(history_cache_steps=2).model.train()
    encoder, encoded = model.news_encoder, []
    plain = encoder.encode_distinct
    monkeypatch.setattr(
        encoder, "encode_distinct", lambda ids: encoded.append(set(ids.tolist())) or plain(ids)
    )
    shown = set(torch.cat([HISTORY, CANDIDATES], dim=1).flatten().tolist())
    candidates = set(CANDIDATES.flatten().tolist())
    before = model.score(batch())
    with torch.no_grad():
        encoder.text_encoder.dense.weight.mul_(2.0)
    for _ in range(3):
        model.score(batch())
    # the clicks of step 0 are reused in steps 1 and 2; padding is never encoded
    assert encoded[0] == encoded[3] | {0} == shown
    assert encoded[1] == encoded[2] == candidates
    again = tiny.world(history_cache_steps=2).model.train()
    again.score(batch())
    with torch.no_grad():
        again.news_encoder.text_encoder.dense.weight.mul_(2.0)
    reused = again.score(batch())
    clicked_only = ~torch.isin(HISTORY, CANDIDATES) & (HISTORY != 0)
    assert torch.equal(reused.news.history[clicked_only], before.news.history[clicked_only])
    reused.scores.sum().backward()
    assert again.news_encoder.text_encoder.dense.weight.grad.abs().sum() > 0


@torch.no_grad()
def test_vectors_of_a_teacher_are_kept_for_the_next_training_and_no_other_teacher(
    tiny: Tiny, tmp_path: Path, monkeypatch
) -> None:
    """Else each student waits for the same vectors; those of another teacher are wrong labels."""
    ids = np.arange(5, 35)
    first = tiny.world().model.news_encoder.eval()
    first(CANDIDATES)  # encoded before: must be neither stored nor lost
    first.encode_ahead(ids, folder=tmp_path)
    expected = first(torch.arange(1, 41))
    second = tiny.world().model.news_encoder.eval()
    second(CANDIDATES)
    with monkeypatch.context() as patch:
        patch.setattr(second, "encode_pack", None)
        second.encode_ahead(ids, folder=tmp_path)
    assert torch.equal(second(torch.arange(1, 41)), expected)
    assert len(list(tmp_path.iterdir())) == 1
    third = tiny.world().model.news_encoder.eval()
    third.text_encoder.dense.weight.mul_(1.5)
    third.encode_ahead(ids, folder=tmp_path)
    fourth = tiny.world().model.news_encoder.eval()
    fourth.encode_ahead(ids[1:], folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    assert not torch.allclose(third(CANDIDATES), first(CANDIDATES))
