from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from recbole_tinynews.serving.article_fields import ArticleInput
from recbole_tinynews.serving.article_index import ArticleIndex


class Watched(ArticleIndex):
    """Notes the ids of every snapshot that another thread may see."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "snapshot":
            vars(self).setdefault("seen", []).append(value.ids)
        super().__setattr__(name, value)


def test_an_article_that_is_replaced_is_never_missing() -> None:
    """A request that came in between was told that there is no article with its id."""
    index = Watched(SimpleNamespace(fields=None))
    one, two = ArticleInput("a", ("one",), ()), ArticleInput("b", ("two",), ())
    index.put([one, two], torch.ones(2, 3))
    index.put([one._replace(fields=("three",))], torch.zeros(1, 3))
    assert index.seen == [(), ("a", "b"), ("b", "a")]
    assert [article.fields for article in index.snapshot.articles] == [("two",), ("three",)]
    assert index.snapshot.vectors.tolist() == [[1.0] * 3, [0.0] * 3]
