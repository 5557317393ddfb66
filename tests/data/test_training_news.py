"""Articles as samples."""

from __future__ import annotations

import numpy as np
from tiny import Tiny, World

from recbole_tinynews.data.articles import TrainingNews
from recbole_tinynews.data.fields import CANDIDATES, HISTORY


def news_of(world: World) -> TrainingNews:
    world.config["post_train_news"] = "train"
    return TrainingNews.read(world.config, world.train, None)


def test_every_article_of_training_and_no_other_is_read_once_in_a_pass(tiny: Tiny) -> None:
    """News of the validation and test days must not be trained on."""
    world = tiny.world()
    train, _ = news_of(world).loaders(world.config, world.valid)
    for epoch in (0, 1):
        train.set_epoch(epoch)
        ids = np.concatenate([batch[CANDIDATES].flatten().numpy() for batch in train])
        shown = world.train.inter_feat
        expected = {*shown.history.values.tolist(), *shown.candidates.values.tolist()}
        assert sorted(ids.tolist()) == sorted(expected)


def test_a_batch_is_an_article_as_click_and_candidate(tiny: Tiny) -> None:
    world = tiny.world()
    batch = news_of(world).loaders(world.config, None)[0].collate_samples(np.arange(3))
    assert batch[HISTORY].shape == batch[CANDIDATES].shape == (3, 1)
    assert (batch[HISTORY] == batch[CANDIDATES]).all()
