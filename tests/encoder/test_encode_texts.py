"""``encode_texts``: vectors of articles that no data set has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from tiny import Tiny, World

from recbole_tinynews.files.columns import CATEGORIES
from recbole_tinynews.model.paper.plmnr import PLMNR

ALL_VIEWS = ["title", "abstract", "category", "subcategory"]
READ_AS: dict[str, dict[str, Any]] = {
    "title": {},
    "frozen": {"finetune_layers": 0, "use_cache": True, "head_init": "pretrained"},
    "title_abstract": {"news_text": "title_abstract", "text_prefix": "word3 "},
    "pad tokens": {"mask_padding_in_news_pooling": False},
    "words": {"news_encoder": "words", "word_dim": 8},
    "views": {"views": ALL_VIEWS, "max_abstract_length": 6, "category_dim": 4},
    "views of words": {"views": ALL_VIEWS, "news_encoder": "words", "word_dim": 8},
    "abstract": {"views": ["abstract"]},
}


@pytest.fixture(params=READ_AS.values(), ids=READ_AS, scope="module")
def world(request: pytest.FixtureRequest, tiny: Tiny) -> World:
    world = tiny.world(PLMNR, **request.param)
    world.model.eval()
    return world


def columns_of(world: World, ids: Sequence[int]) -> dict[str, list[str]]:
    """What an ``.item`` file has of these articles."""
    train = world.train
    columns = {name: [texts[each] for each in ids] for name, texts in train.news_text.items()}
    for name in CATEGORIES:
        of_article = train.item_feat[name][torch.tensor(ids)]
        columns[name] = train.field2id_token[name][of_article.numpy()].tolist()
    return columns


@torch.no_grad()
def test_given_articles_have_the_vectors_of_the_data_sets(world: World) -> None:
    """A served recommender would rank by other vectors than the one that was evaluated."""
    encoder, ids = world.model.news_encoder, [7, 1, 2, 3, 30]
    expected = encoder.encode_distinct(np.array(ids))
    torch.testing.assert_close(encoder.encode_texts(columns_of(world, ids)), expected)


@torch.no_grad()
def test_no_article_of_the_data_set_is_forgotten_for_given_ones(world: World) -> None:
    """An evaluation beside a service would read the texts of a request, or encode all anew."""
    encoder, ids = world.model.news_encoder, torch.arange(1, 20)
    before, tokens = encoder(ids), encoder.tokens
    encoder.encode_texts(columns_of(world, [30, 31]))
    assert encoder.tokens is tokens
    assert torch.equal(encoder(ids), before)


def test_threads_get_the_bits_that_one_gets(world: World) -> None:
    """Texts of one request, cut or encoded as those of another, would be ranked by chance."""
    encoder = world.model.news_encoder
    given = [columns_of(world, [each, each % 39 + 1, 2]) for each in range(1, 33)]
    alone = [encoder.encode_texts(columns) for columns in given]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(encoder.encode_texts, given))
    assert all(map(torch.equal, together, alone))


def test_unknown_and_missing_categories_count_as_none(tiny: Tiny) -> None:
    """A category that came up after training would stop the service, or be taken for another."""
    encoder = tiny.world(PLMNR, views=ALL_VIEWS).model.eval().news_encoder
    texts = {"title": ["word1"], "abstract": [""]}
    without = encoder.encode_texts(texts)
    for unknown in ("", "[PAD]", "weather"):
        assert torch.equal(encoder.encode_texts({**texts, "category": [unknown]}), without)
    assert not torch.equal(encoder.encode_texts({**texts, "category": ["sports"]}), without)


def test_no_texts_give_no_vectors_and_missing_columns_are_named(tiny: Tiny) -> None:
    encoder = tiny.world(PLMNR).model.eval().news_encoder
    assert encoder.encode_texts({"title": []}).shape == (0, 16)
    with pytest.raises(ValueError, match="column 'title', got abstract"):
        encoder.encode_texts({"abstract": ["word1"]})


class ReadsItsOwn(PLMNR):
    text_fields = ("category", "abstract")

    def make_texts(self, columns: Mapping[str, Sequence[str]]) -> list[str]:
        return [" ".join(parts) for parts in zip(*columns.values(), strict=False)]


def test_a_text_of_its_own_is_the_same_of_a_data_set_and_of_given_articles(tiny: Tiny) -> None:
    """Served, it would rank by texts that it never saw."""
    world = tiny.world(ReadsItsOwn)
    encoder, texts = world.model.eval().news_encoder, world.train.news_text
    columns = {"category": world.train.groups()["category"], "abstract": texts["abstract"]}
    given = {name: list(column[1:]) for name, column in columns.items()}
    expected = encoder(ids := torch.arange(1, 1 + len(given["category"])))
    torch.testing.assert_close(encoder.encode_texts(given), expected)
    assert not torch.allclose(tiny.world(PLMNR).model.eval().news_encoder(ids), expected)
    with pytest.raises(ValueError, match="for each of 2 articles, got 1"):
        encoder.encode_texts({"category": ["word1", "word2"], "abstract": ["word1"]})


def test_an_ensembles_vectors_are_those_of_its_teachers(tiny: Tiny) -> None:
    encoder = tiny.world("EnsembleTeacher").model.eval().news_encoder
    columns: Mapping[str, Sequence[str]] = {"title": ["word1 word2", "word3"]}
    parts = [each.encode_texts(columns) for each in encoder.encoders]
    assert torch.equal(encoder.encode_texts(columns), torch.cat(parts, dim=-1))
