"""What the tests of all formats compare: scores of an export with those of ``rank``."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from tiny import titles

from recbole_tinynews.serving.export.engine import ExportEngine
from recbole_tinynews.serving.loading import load

needs_onnx = pytest.mark.skipif(
    not all(map(find_spec, ("onnx", "onnxscript", "onnxruntime"))),
    reason="onnx, onnxscript or onnxruntime is not installed (extra: export)",
)
needs_sentence_transformers = pytest.mark.skipif(
    find_spec("sentence_transformers") is None,
    reason="sentence-transformers is not installed (extra: export)",
)

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
    ranked = ranker.rank(users, [texts()] * len(users), ids=False)
    return np.array(
        [[each.score for each in sorted(user, key=lambda each: each.place)] for user in ranked]
    )


def exported_scores(engine: ExportEngine) -> np.ndarray:
    """Scores of the same, from the two parts of an export, ``[users, texts]``."""
    width = engine.settings["history_length"]
    vectors = engine.encode(texts())
    users = histories()
    clicked = np.zeros((len(users), width, vectors.shape[1]), np.float32)
    mask = np.zeros((len(users), width), bool)
    for row, history in enumerate(users):
        newest = history[-width:]
        if newest:
            clicked[row, width - len(newest) :] = engine.encode(newest)
            mask[row, width - len(newest) :] = True
    return engine.user_vectors(clicked, mask) @ vectors.T
