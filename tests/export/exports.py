"""What the tests of all formats compare: scores of an export with those of ``rank``."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import titles

from recbole_tinynews.serving.engine import Engine
from recbole_tinynews.serving.loading import load

Make = Callable[..., Path]  # the folder of a recommender or of an export, by its settings
needs_onnx = pytest.mark.skipif(
    not all(map(find_spec, ("onnx", "onnxscript", "onnxruntime"))),
    reason="onnx, onnxscript or onnxruntime is not installed (extra: export)",
)
needs_sentence_transformers = pytest.mark.skipif(
    find_spec("sentence_transformers") is None,
    reason="sentence-transformers is not installed (extra: export)",
)

HF_KINDS = {
    "as in the paper": {},
    "heads that start pretrained": {"head_init": "pretrained", "news_dim": 24},
    "first token, self-attention": {"news_pooling": "cls", "user_encoder": "self_attention"},
    "pretrained, self-attention, a learned vector": {
        "head_init": "pretrained",
        "news_pooling": "mean",
        "user_encoder": "self_attention",
        "history_padding": "learned",
    },
    "pad tokens in pooling": {"mask_padding_in_news_pooling": False},
    "a prefix": {"text_prefix": "word5 "},
    "title and abstract": {"news_text": "title_abstract"},
}
SENTENCE_KINDS = {
    "attention": {"head_init": "pretrained", "news_dim": 24},
    "mean, a prefix": {"head_init": "pretrained", "news_pooling": "mean", "text_prefix": "word5 "},
    "first token": {"head_init": "pretrained", "news_pooling": "cls", "news_dim": 32},
    "mean, random heads": {"head_init": "random", "news_pooling": "mean"},
}
UNSEEN = ["", "word7", "word3 word9 word9", " ".join(["word1 word2"] * 20), "Words never seen!"]


def texts() -> list[str]:
    """Titles of the data set and new ones: empty, of one word, longer than any limit."""
    return [*titles(), *UNSEEN]


def histories() -> list[list[str]]:
    """Users without a click, with one, with some, and with more than are looked at."""
    known = texts()
    return [[], known[:1], known[2:3], known[4:8], known[:30]]


def ranked_scores(folder: Path) -> np.ndarray:
    """Scores that the recommender itself gives, ``[users, texts]``."""
    ranker = load(folder)
    users = histories()
    ranked = ranker.rank(users, [texts()] * len(users))
    return np.array(
        [[each.score for each in sorted(user, key=lambda each: each.place)] for user in ranked]
    )


def exported_scores(engine: Engine) -> np.ndarray:
    """Scores of the same, from the two parts of an export, ``[users, texts]``."""
    vectors, width = engine.encode({"title": texts()}), engine.settings["history_length"]
    number = {text: place for place, text in enumerate(texts(), start=1)}
    clicked = np.zeros((len(histories()), width), np.int64)
    for row, history in enumerate(histories()):
        newest = history[-width:]
        if newest:
            clicked[row, width - len(newest) :] = [number[text] for text in newest]
    with_padding = torch.cat([torch.zeros_like(vectors[:1]), vectors])
    users = engine.user_vectors(with_padding, torch.from_numpy(clicked))
    return (users @ vectors.T).numpy()


def assert_scores_equal(got: object, expected: np.ndarray) -> None:
    """Up to float32's rounding: sums in another order differ by some 1e-6 of the largest score."""
    atol = 1e-4 * max(1, np.abs(expected).max())
    np.testing.assert_allclose(got, expected, rtol=0, atol=atol)
