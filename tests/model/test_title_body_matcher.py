from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from tiny import MAX_TITLE, Tiny
from torch.nn import functional as F

from recbole_tinynews.data.fields import CANDIDATES, HISTORY
from recbole_tinynews.data.title_body_articles import TitleBodyDataLoader
from recbole_tinynews.model.stages.title_body import TitleBodyMatcher


@pytest.fixture
def articles(tiny: Tiny):
    return partial(tiny.stage, "TinyNewsRec", "post_train_teacher", TitleBodyMatcher)


def test_the_loss_is_the_dot_product_of_a_body_with_titles(articles) -> None:
    """`L_DP` has no user encoder: a layer between body and score would be another method."""
    config, data, model = articles()
    batch = TitleBodyDataLoader(config, data).collate_fn([0, 1, 2])
    bodies, titles = model.encode_news(batch[HISTORY])[:, 0], model.encode_news(batch[CANDIDATES])
    scores = torch.einsum("bd,bcd->bc", bodies, titles)
    expected = F.cross_entropy(scores, torch.zeros(3, dtype=torch.long))
    torch.testing.assert_close(model.calculate_loss(batch).target, expected)
    assert list(model.user_encoder.parameters()) == []


def test_titles_and_bodies_are_padded_apart_where_pad_tokens_take_part(articles) -> None:
    """A title of 12 words with 500 pad tokens would be almost all padding."""
    config, data, model = articles(mask_padding_in_news_pooling=False)
    lengths = model.news_encoder.tokens.lengths
    assert set(lengths[1 : 1 + data.articles]) == {config["max_title_length"]}
    assert set(lengths[1 + data.articles :]) == {config["max_body_length"]}


@pytest.mark.parametrize(("use_cache", "bodies"), [("auto", False), (True, True), (False, None)])
def test_states_of_bodies_are_stored_only_if_asked_for(articles, use_cache, bodies) -> None:
    """A corpus of two million bodies would take terabytes."""
    _, data, model = articles(use_cache=use_cache)
    model.encode_news(torch.tensor([1, 2]))
    tables = list(data.cache_dir.glob("frozen-states-*/table.npy"))
    if bodies is None:
        assert tables == []
        return
    (table,) = tables
    lengths = data.text_tokens.lengths
    stored = len(np.load(table, mmap_mode="r"))
    assert stored == (lengths.sum() if bodies else lengths[lengths <= MAX_TITLE].sum())


def test_padded_slots_count_in_the_embedding_loss_only_where_asked(tiny: Tiny) -> None:
    """Zero vectors are easy to imitate, and would make the loss look small."""
    losses = {}
    for masked in (True, False):
        world = tiny.world("TinyNewsRec", mask_padding_in_embedding_loss=masked)
        samples = np.flatnonzero(
            world.train.inter_feat.history.lengths[world.clicks().clicks.impression] < 4
        )
        losses[masked] = world.model.calculate_loss(world.clicked(samples.tolist()))
    assert losses[True].embedding != losses[False].embedding
    assert losses[True].target == losses[False].target
