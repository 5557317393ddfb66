"""Articles with several views against each view by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import EMPTY_TITLE, Tiny, World
from torch import Tensor

from recbole_tinynews.encoder.hidden_states import StateRequest
from recbole_tinynews.encoder.views import ViewAttention, ViewsEncoder
from recbole_tinynews.model.paper.plmnr import PLMNR

VIEWS = ["title", "category", "abstract", "subcategory"]


def world_of(tiny: Tiny, reader: str = "words", model: Any = PLMNR, **settings: Any) -> World:
    kept = {"word_dropout": 0.0, "word_dim": 12, "category_dim": 7}
    return tiny.world(model, news_encoder=reader, views=VIEWS, **{**kept, **settings})


def attended(composition: ViewAttention, views: dict[str, Tensor]) -> Tensor:
    """NAML's equations for one article."""
    vectors = [
        (composition.dense[name].weight @ vector + composition.dense[name].bias).relu()
        if name in ("category", "subcategory")
        else vector
        for name, vector in views.items()
    ]
    pooling = composition.pooling
    scores = [
        pooling.query.weight[0] @ (pooling.projection.weight @ r + pooling.projection.bias).tanh()
        for r in vectors
    ]
    shares = torch.stack(scores).softmax(0)
    return sum(share * r for share, r in zip(shares, vectors, strict=True))


@pytest.mark.parametrize("reader", ["words", "plm"])
def test_an_article_is_its_views_by_the_equations(tiny: Tiny, reader: str) -> None:
    """A view under another article's id, or another order of views, changes no shape."""
    world = world_of(tiny, reader)
    encoder = world.model.double().train().news_encoder
    assert isinstance(encoder, ViewsEncoder)
    ids = torch.tensor([[5, 9, 0], [7, 5, EMPTY_TITLE]])
    vectors = encoder(ids)
    items = world.train.item_feat
    for row, news in enumerate(ids.tolist()):
        for place, article in enumerate(news):
            if article == 0:
                assert (vectors[row, place] == 0).all()
                continue
            views = {}
            for name in VIEWS:
                if name in encoder.texts:
                    views[name] = encoder.texts[name].encode_distinct(np.array([article]))[0]
                else:
                    category = items[name][article]
                    views[name] = encoder.views[name].vectors.weight[category]
            torch.testing.assert_close(
                vectors[row, place], attended(encoder.composition, views), rtol=1e-9, atol=1e-9
            )


def test_words_are_shared_and_readers_are_not(tiny: Tiny) -> None:
    """A title and an abstract use the same words, in sentences of another kind."""
    title, abstract = world_of(tiny).model.news_encoder.texts.values()
    assert title.text_encoder.words is abstract.text_encoder.words
    assert title.text_encoder.context is not abstract.text_encoder.context
    title, abstract = world_of(tiny, "plm").model.news_encoder.texts.values()
    assert title.text_encoder is abstract.text_encoder


@pytest.mark.parametrize("reader", ["words", "plm"])
def test_the_known_articles_of_a_batch_change_no_loss_and_no_gradient(
    tiny: Tiny, reader: str
) -> None:
    """All views read them: one view's texts in the place of another's would go unnoticed."""
    world = world_of(tiny, reader)
    model, loader = world.model.double().train(), world.clicks()
    results = []
    for knows in (False, True):
        batch = loader.collate_fn(range(8))
        batch.articles = batch.articles if knows else None
        model.zero_grad()
        (loss,) = model.calculate_loss(batch)
        loss.backward()
        results.append([loss, *(p.grad for p in model.parameters() if p.grad is not None)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_vectors_encoded_ahead_are_those_of_a_batch(tiny: Tiny, tmp_path: Path) -> None:
    """A table on disk that another run reads must be of these views and weights."""
    world = world_of(tiny)
    encoder, ids = world.model.eval().news_encoder, np.arange(1, 41)
    with torch.no_grad():
        computed = encoder.encode_distinct(ids)
        encoder.encode_ahead(ids, folder=tmp_path)
        torch.testing.assert_close(encoder(torch.from_numpy(ids)), computed)
        encoder.train().eval()
        encoder.views["category"].vectors.weight.mul_(3)
        encoder.encode_ahead(ids, folder=tmp_path)
        changed = encoder(torch.from_numpy(ids))
    assert (changed - computed).abs().max() > 1e-3
    assert len(list(tmp_path.glob("news-vectors-*"))) == 2


def test_hidden_states_of_several_views_are_refused(tiny: Tiny) -> None:
    """Those of the title would be taken for those of the article."""
    with pytest.raises(ValueError, match=r"got ViewsEncoder\. Set news_encoder=plm and views"):
        world_of(tiny).model.news_encoder.record_states(StateRequest(frozenset({1})))


@pytest.mark.parametrize(
    "views", [[], ["category"], ["title", "title"], ["titel"], "title", ["title", 1], None]
)
def test_views_that_do_not_exist_are_refused(tiny: Tiny, views: Any) -> None:
    with pytest.raises(ValueError, match=r"\n- views .*expects a list of some of title, abstract"):
        tiny.config("PLMNR", views=views)
