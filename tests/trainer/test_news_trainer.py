from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import Tiny, World, write_dataset
from torch.nn import functional as F

from recbole_tinynews.evaluation.metrics import auc, mrr, ndcg, rank_impressions
from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.trainer import news_trainer
from recbole_tinynews.trainer.stage_events import TENSORBOARD


def trained(world: World, **arguments: Any) -> Any:
    trainer = world.trainer()
    torch.manual_seed(0)
    trainer.fit(world.clicks(), **arguments)
    return trainer


def weights_of(world: World) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in world.model.state_dict().items()}


def assert_equal(one: dict, other: dict, **tolerance: float) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(
            value, other[name], **tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )


def colourless(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


# -------------------------------------------------------------------------------------- training


@pytest.mark.parametrize(("max_steps", "grouped"), [(None, False), (3, False), (3, True)])
def test_small_batches_accumulated_train_as_one_large_batch(
    tiny: Tiny, tmp_path: Path, max_steps, grouped: bool
) -> None:
    """The last step has fewer batches, and its last batch fewer clicks; clicks count equally."""
    two = tiny._replace(data=write_dataset(tmp_path / "data", clicks=2)) if grouped else tiny
    settings = {"epochs": 2, "max_steps": max_steps, "group_clicks": grouped}
    worlds = [
        two.world(train_batch_size=size, accumulation_steps=count, **settings)
        for size, count in ((15, 1), (5, 3))
    ]
    seen: list[list[tuple[int, float]]] = []
    for world in worlds:
        world.model.double()
        samples = world.clicks().sample_size
        assert samples % 15
        assert samples % 5
        steps: list[tuple[int, float]] = []
        seen.append(steps)
        trainer = world.trainer()
        counted = trainer.after_step

        def after_step(step: int, losses: Any, steps=steps, counted=counted) -> None:
            steps.append((step, float(losses.target)))
            counted(step, losses)

        trainer.after_step = after_step
        torch.manual_seed(0)
        trainer.fit(world.clicks())
    assert_equal(*map(weights_of, worlds), rtol=1e-9, atol=1e-9)
    assert [step for step, _ in seen[0]] == [*range(1, trainer.step + 1)]
    np.testing.assert_allclose(*seen, rtol=1e-9)


def test_a_step_of_fewer_clicks_is_as_large_as_any(tiny: Tiny) -> None:
    """With the share of a whole step, the last step of an epoch would move the weights less."""
    samples = tiny.world().clicks().sample_size
    worlds = [
        tiny.world(train_batch_size=size, accumulation_steps=count, epochs=1, learner="sgd")
        for size, count in ((samples, 1), (16, samples))
    ]
    for world in worlds:
        world.model.double()
        trained(world)
    assert_equal(*map(weights_of, worlds), rtol=1e-9, atol=1e-9)


def test_training_ends_after_the_steps_asked_for(tiny: Tiny) -> None:
    """A schedule for fewer steps, or one more epoch, would show in no log line."""
    for accumulation, per_epoch in ((1, 5), (2, 3)):
        for steps in (1, per_epoch, per_epoch + 1):
            world = tiny.world(max_steps=steps, accumulation_steps=accumulation, epochs=9)
            trainer = trained(world)
            assert trainer.step == steps
            assert len(trainer.train_loss_dict) == -(-steps // per_epoch)
    assert trained(tiny.world(epochs=2)).step == 10


def test_validations_within_a_pass_come_after_the_steps_asked_for(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One pass over MIND-large takes hours; an interval may also reach into the next pass."""
    validated: list[int] = []
    plain = news_trainer.NewsTrainer._valid_epoch
    monkeypatch.setattr(
        news_trainer.NewsTrainer,
        "_valid_epoch",
        lambda self, *a, **k: (validated.append(self.step), plain(self, *a, **k))[1],
    )
    one, other = (tiny.world(epochs=2, eval_steps=steps) for steps in (None, 3))
    for world in (one, other):
        trained(world, valid_data=world.impressions())
    assert validated == [5, 10, 3, 6, 9, 10]
    assert_equal(weights_of(one), weights_of(other), rtol=0, atol=0)


def test_the_last_epoch_of_a_training_that_ends_early_is_validated(tiny: Tiny) -> None:
    """Without a validation nothing is saved, and the test would have no weights."""
    world = tiny.world(max_steps=2, epochs=9, eval_step=3)
    trainer = trained(world, valid_data=world.impressions())
    assert Path(trainer.saved_model_file).is_file()
    assert trainer.best_valid_result["impressions"] == 12


def gradient_steps(world: World, monkeypatch) -> list[dict[str, float]]:
    """Norms of the gradient before and after clipping, at each step."""
    seen: list[dict[str, float]] = []
    clip = torch.nn.utils.clip_grad_norm_

    def watched(parameters, **arguments):
        parameters = list(parameters)
        norm = clip(parameters, **arguments)
        left = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        seen.append({"before": float(norm), "after": float(left)})
        return norm

    monkeypatch.setattr(news_trainer, "clip_grad_norm_", watched)
    trainer = world.trainer()
    # with the usual initial scale fp16 overflows, and skips the first steps
    trainer.scaler = torch.amp.GradScaler("cpu", 1024.0, enabled=trainer.scaler.is_enabled())
    trainer.fit(world.clicks())
    return seen


def test_gradients_are_clipped_at_their_true_size(tiny: Tiny, monkeypatch) -> None:
    """fp16 scales the loss by thousands: clipped before unscaling, every step would be tiny."""
    clip = {"max_norm": 0.1}
    plain = gradient_steps(tiny.world(clip_grad_norm=clip, max_steps=2), monkeypatch)
    half = gradient_steps(
        tiny.world(clip_grad_norm=clip, max_steps=2, precision="fp16"), monkeypatch
    )
    assert [step["after"] for step in plain] == pytest.approx([0.1, 0.1], rel=1e-3)
    assert [step["after"] for step in half] == pytest.approx([0.1, 0.1], rel=1e-3)
    assert half[0]["before"] == pytest.approx(plain[0]["before"], rel=0.05)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_learns_nearly_the_same_in_full_weights(tiny: Tiny, precision) -> None:
    """Weights in half precision would stop changing: steps are below its resolution."""
    full, half = tiny.world(epochs=2), tiny.world(epochs=2, precision=precision)
    seen: list[torch.dtype] = []
    half.model.news_encoder.text_encoder.dense.register_forward_hook(
        lambda module, inputs, output: seen.append(output.dtype)
    )
    losses = [list(trained(world).train_loss_dict.values()) for world in (full, half)]
    dtype = torch.bfloat16 if precision == "bf16" else torch.float16
    assert set(seen) == {dtype}
    assert losses[1] == pytest.approx(losses[0], rel=0.1)  # fp16 skips its first steps
    assert losses[1] != losses[0]
    assert {p.dtype for p in half.model.parameters()} == {torch.float32}


def test_a_seed_decides_every_weight_and_another_gives_others(tiny: Tiny) -> None:
    """A result that can't be reproduced can't be compared."""
    worlds = [tiny.world(plm_dropout=0.3, seed=seed) for seed in (1, 1, 2)]
    for world in worlds:
        trained(world)
    one, again, other = map(weights_of, worlds)
    assert all(torch.equal(value, again[name]) for name, value in one.items())
    assert not all(torch.equal(value, other[name]) for name, value in one.items())


def test_each_epoch_has_another_order_and_other_negatives(tiny: Tiny, monkeypatch) -> None:
    """The reference code draws negatives once, and trains on the same few for ever."""
    world = tiny.world(epochs=2)
    seen: list[torch.Tensor] = []
    plain = world.model.calculate_loss
    monkeypatch.setattr(
        world.model,
        "calculate_loss",
        lambda batch: seen.append(batch["candidates"]) or plain(batch),
    )
    trained(world)
    loader = world.clicks()
    expected = []
    for epoch in range(2):
        loader.set_epoch(epoch)
        expected += [batch["candidates"] for batch in loader]
    assert all(torch.equal(one, other) for one, other in zip(seen, expected, strict=True))
    assert not torch.equal(seen[0], seen[len(loader)])


def test_a_loss_that_is_no_number_ends_training_by_name(tiny: Tiny, monkeypatch) -> None:
    """NaN spreads to every weight in one step, after which no ranking is possible."""
    world = tiny.world("TinyNewsRec")
    plain = type(world.model.distillation).forward

    def broken(self, *arguments):
        return plain(self, *arguments)._replace(embedding=torch.tensor(float("nan")))

    monkeypatch.setattr(type(world.model.distillation), "forward", broken)
    before = weights_of(world)
    with pytest.raises(ValueError, match=r"embedding loss nan.*in optimizer step 1.*Lower"):
        trained(world)
    assert_equal(weights_of(world), before, rtol=0, atol=0)


def test_losses_are_shown_and_kept_by_name_and_as_means(tiny: Tiny, tmp_path, caplog) -> None:
    """RecBole prints the sum over all batches as train_loss1, train_loss2, train_loss3."""
    world = tiny.world("TinyNewsRec", learning_rate=1e-60, plm_learning_rate=0.0, max_steps=None)
    caplog.set_level(logging.INFO)
    torch.manual_seed(0)
    trainer = world.trainer()
    model, loader = world.model.train(), world.clicks()
    batches = [model.calculate_loss(trainer.prepare(batch)) for batch in loader]
    expected = {
        name: float(np.mean([getattr(losses, name).item() for losses in batches]))
        for name in ("distillation", "embedding", "target")
    }
    trainer.fit(loader)
    shown = ", ".join(f"{name} loss: {value:.4f}" for name, value in expected.items())
    (line,) = [colourless(m) for m in caplog.messages if "epoch 0 training" in colourless(m)]
    assert shown in line
    assert f"train loss: {sum(expected.values()):.4f}" in line
    speeds = (
        r"clicks/s: [\d,.]+, titles/s: [\d,.]+, tokens/s: [\d,.]+, waiting for the loader: [\d.]+%"
    )
    assert re.search(speeds, line)
    assert trainer.train_loss_dict[0] == pytest.approx(sum(expected.values()), rel=1e-5)

    trainer.tensorboard.close()
    events = EventAccumulator(str(trainer.folder / TENSORBOARD)).Reload()
    for name, value in trainer.rates.items():
        assert events.Scalars(f"TinyNewsRec/epoch/{name}")[0].value == pytest.approx(value)


def test_a_loss_without_parts_is_trained_and_shown_too(tiny: Tiny, caplog) -> None:
    """A user's recommender may return one tensor, as RecBole's models do, or a plain tuple."""

    class Plain(PLMNR):
        def calculate_loss(self, interaction):
            return super().calculate_loss(interaction).target

    class Pair(PLMNR):
        def calculate_loss(self, interaction):
            target = super().calculate_loss(interaction).target
            return 0.25 * target, 0.75 * target

    caplog.set_level(logging.INFO)
    worlds = [tiny.world(model) for model in ("PLMNR", Plain, Pair)]
    losses = [trained(world).train_loss_dict[0] for world in worlds]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)
    lines = [colourless(m) for m in caplog.messages if "epoch 0 training" in colourless(m)]
    assert "target loss: " in lines[0]
    assert "train loss: " in lines[1]
    assert "train_loss1 loss: " in lines[2]


# ------------------------------------------------------------------------------------ evaluation


def test_results_are_those_of_plain_scores(tiny: Tiny) -> None:
    """Loader, collector, evaluator and dropout that is left on could change what is measured."""
    world = tiny.world(plm_dropout=0.5)
    trainer = trained(world)
    result = trainer.evaluate(world.impressions(), load_best_model=False)
    shown = world.valid.inter_feat
    model = world.model.eval()
    scores: list[float] = []
    for row in range(shown.rows):
        clicked = torch.tensor(shown.history.row(row)[-6:]).long()[None]
        candidates = torch.tensor(shown.candidates.row(row)).long()
        user = model.encode_user(model.encode_news(clicked), clicked != 0)
        if not clicked.numel():
            user = model.user_encoder.pad_doc[None]
        scores += (model.encode_news(candidates) @ user[0]).tolist()
    ranked = rank_impressions(np.array(scores), shown.labels, shown.candidates.offsets)
    expected = {
        "auc": auc(ranked).mean(),
        "mrr": mrr(ranked).mean(),
        "ndcg@5": ndcg(ranked, 5).mean(),
        "ndcg@10": ndcg(ranked, 10).mean(),
        "impressions": 12,
        "skipped": 2,
    }
    assert dict(result) == pytest.approx(expected, abs=1e-6)


def test_the_best_epoch_is_tested_and_not_the_last(tiny: Tiny, monkeypatch) -> None:
    """A later, worse epoch leaves worse weights, and vectors computed with them."""
    world = tiny.world(epochs=3, learning_rate=1e-2, stopping_step=5)
    trainer = world.trainer()
    kept: list[dict[str, torch.Tensor]] = []
    scores = iter([0.5, 0.9, 0.7])
    plain = trainer.evaluate

    def staged(*arguments, **keywords):
        result = plain(*arguments, **keywords)
        kept.append(weights_of(world))
        result["auc"] = next(scores)
        return result

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "evaluate", staged)
        score, result = trainer.fit(world.clicks(), world.impressions())
    assert (score, result["auc"]) == (0.9, 0.9)
    tested = trainer.evaluate(world.impressions())
    assert_equal(weights_of(world), kept[1], rtol=0, atol=0)
    fresh = tiny.world()
    fresh.model.load_state_dict(kept[1])
    other = fresh.trainer().evaluate(fresh.impressions(), load_best_model=False)
    assert tested == other


def test_validation_without_a_single_click_ends_the_run_where_it_happens(tiny: Tiny) -> None:
    """NaN is never better: no weights would be saved, and the test would find no file."""
    world = tiny.world()
    shown = world.valid.inter_feat
    world.valid.inter_feat = shown._replace(labels=np.full_like(shown.labels, -1))
    with pytest.raises(ValueError, match=r"clicked and unclicked candidates.*eval_step=0"):
        trained(world, valid_data=world.impressions())


# ----------------------------------------------------------------------------------- checkpoints


def test_saved_files_hold_weights_and_nothing_that_can_run(tiny: Tiny, tmp_path: Path) -> None:
    """RecBole pickles its Config into each checkpoint, and loading a pickle can run code."""
    world = tiny.world()
    trainer = trained(world, valid_data=world.impressions())
    place = Path(trainer.saved_model_file)
    assert place.suffix == ".safetensors"
    assert load_file(place).keys() == world.model.state_dict().keys()
    assert [p for p in tmp_path.rglob("*") if p.suffix in {".pth", ".pt", ".pkl"}] == []


def test_a_training_without_validation_keeps_its_last_weights(tiny: Tiny) -> None:
    world = tiny.world(epochs=2)
    trainer = trained(world)
    saved = load_file(trainer.saved_model_file)
    assert_equal(saved, weights_of(world), rtol=0, atol=0)


def test_a_model_learns_what_there_is_to_learn(tiny: Tiny) -> None:
    """All other tests could pass with a gradient of the wrong sign."""
    world = tiny.world(epochs=8, finetune_layers="all", learning_rate=3e-3)
    losses = trained(world).train_loss_dict
    assert losses[7] < 0.6 * losses[0]
    assert losses[0] == pytest.approx(
        float(F.cross_entropy(torch.zeros(1, 4), torch.tensor([0]))), abs=2
    )
