"""What a training used, compared with plain counts over its batches."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from tiny import DATASET, HIDDEN, Tiny, run_of
from torch import nn

from recbole_tinynews.data.fields import CANDIDATES, HISTORY
from recbole_tinynews.pipeline.artifact import Artifact
from recbole_tinynews.pipeline.quick_start import run
from recbole_tinynews.pipeline.stage import lineage
from recbole_tinynews.pipeline.systems import system
from recbole_tinynews.trainer.losses import Budget, BudgetCounter, Pace


@pytest.mark.parametrize("layers", [1, "all"])
@pytest.mark.parametrize("use_cache", [True, False])
def test_a_training_on_clicks_counts_its_candidates_and_the_layers_that_train(
    tiny: Tiny, layers: int | str, use_cache: bool
) -> None:
    """Read from a table or computed, frozen layers cost a comparison nothing, and are no excuse."""
    world = tiny.world("PLMNR", finetune_layers=layers, use_cache=use_cache, epochs=2)
    trainer, clicks, lengths = world.trainer(), world.clicks(), world.model.news_encoder.tokens
    candidates = tokens = 0
    for epoch in range(2):
        clicks.set_epoch(epoch)
        titles = 0
        for batch in clicks:
            candidates += len(batch[CANDIDATES]) * (1 + world.config["negatives"])
            shown = {*batch[CANDIDATES].flatten().tolist(), *batch[HISTORY].flatten().tolist()}
            tokens += sum(int(lengths.lengths[each]) for each in shown)
            titles += sum(lengths.lengths[each] > 0 for each in shown)
    trainer.fit(world.clicks(), world.impressions())
    rates = trainer.rates  # of the last epoch
    titles_per_click = rates["titles_per_second"] / rates["clicks_per_second"]
    assert titles_per_click == pytest.approx(titles / clicks.sample_size)
    inner = world.model.news_encoder.text_encoder.plm.config.intermediate_size
    per_layer = 4 * HIDDEN * HIDDEN + 2 * HIDDEN * inner
    trained = world.config["num_hidden_layers"] if layers == "all" else layers
    flops = 6 * tokens * per_layer * trained
    assert trainer.budget.total() == Budget(0, 0, candidates, flops)


def test_waiting_for_the_loader_is_told_from_training() -> None:
    """A training that reads from a slow disk looks like one on a slow processor."""

    def loaded() -> Iterator[int]:
        for number in range(3):
            time.sleep(0.02)
            yield number

    pace = Pace(BudgetCounter(nn.Identity(), nn.Identity()))
    for _ in pace.timed(loaded()):
        time.sleep(0.01)
    assert pace.rates() == {"loader_share": pytest.approx(2 / 3, abs=0.2)}


def test_each_stage_counts_its_own_and_keeps_it(tiny: Tiny) -> None:
    """Teachers of a whole benchmark are trained once: a reused stage must not look free."""
    config = tiny.config("TinyNewsRec")
    first, last = run_of(config), system(config)
    first.make(last)
    budgets = {stage.name: Budget(**a.budget) for stage, a in first.artifacts.items()}
    post_trained, student = budgets["post_train_teacher"], budgets["post_train_student"]
    assert post_trained.articles == student.articles == 4 * 8  # steps, bodies
    assert min(post_trained.tokens, student.tokens, post_trained.flops) > 0
    assert post_trained.clicks_x_candidates == student.clicks_x_candidates == 0
    clicks = budgets["TinyNewsRec"]
    assert (clicks.articles, clicks.tokens, clicks.clicks_x_candidates) == (0, 0, 3 * 8 * 4)
    again = run_of(config)
    again.make(last)
    for stage, artifact in again.artifacts.items():
        assert isinstance(artifact, Artifact)
        assert artifact.reused
        assert artifact.budget == first.artifacts[stage].budget
    assert [stage.name for stage in lineage(last)] == ["post_train_student", "TinyNewsRec"]
    result = run("TinyNewsRec", DATASET, config_dict=tiny.settings("TinyNewsRec"))
    assert result["budget"]["own"] == student.plus(clicks)._asdict()
    others = [a.budget for stage, a in again.artifacts.items() if "teacher" in stage.name]
    assert result["budget"]["teachers"] == {
        name: sum(each[name] for each in others) for name in Budget._fields
    }


def test_masked_texts_and_joint_teachers_are_counted(tiny: Tiny) -> None:
    """A teacher that trains beside its student takes most of the operations."""
    masked = run_of(tiny.config("PLMNRDAPT"))
    last = system(masked.factory.config)
    masked.make(last)
    pretrained = next(a.budget for s, a in masked.artifacts.items() if s.name == "pretrain_teacher")
    assert pretrained["articles"] == 4 * 8
    assert pretrained["tokens"] > pretrained["articles"]
    alone, joint = (tiny.world(model, max_steps=1) for model in ("PLMNR", "NewsBERT"))
    flops = []
    for world in (alone, joint):
        trainer = world.trainer()
        trainer.fit(world.clicks(), world.impressions())
        flops.append(trainer.budget.total().flops)
    assert flops[1] >= 2 * flops[0] > 0
