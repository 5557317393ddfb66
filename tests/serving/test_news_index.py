from __future__ import annotations

from typing import Any

import torch

from recbole_tinynews.serving.news_index import NewsIndex


class Watched(NewsIndex):
    """Notes the ids of every shelf that another thread may see."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "shelf":
            vars(self).setdefault("seen", []).append(value.ids)
        super().__setattr__(name, value)


def test_an_article_that_is_replaced_is_never_missing() -> None:
    """A request that came in between was told that there is no article with its id."""
    index = Watched()
    index.add(["a", "b"], [("one",), ("two",)], torch.ones(2, 3))
    index.add(["a"], [("three",)], torch.zeros(1, 3))
    assert index.seen == [(), ("a", "b"), ("b", "a")]
    assert index.shelf.read == (("two",), ("three",))
    assert index.shelf.vectors.tolist() == [[1.0] * 3, [0.0] * 3]
