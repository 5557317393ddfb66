"""Ranks from ONNX graphs: onnxruntime computes, and no torch model is built."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoConfig

from recbole_tinynews.encoder.language_model import load_tokenizer
from recbole_tinynews.serving.export.description import Description
from recbole_tinynews.serving.export.libraries import library
from recbole_tinynews.serving.export.texts import PaddedTexts

NEWS_GRAPH, USER_GRAPH = "news_encoder.onnx", "user_encoder.onnx"


class OnnxEngine:
    """The two graphs of an export to ``onnx`` or ``onnx-int8``; threads may share it.

    It computes on the CPU, with as many threads as torch has when it is made.

    Args:
        folder: of the export.
        description: what ``recommender.json`` says.

    Raises:
        ModuleNotFoundError: onnxruntime is not installed.
        ValueError: a graph cannot be read.
    """

    def __init__(self, folder: Path, description: Description) -> None:
        self.settings = description.settings
        self._news, self._user = session(folder / NEWS_GRAPH), session(folder / USER_GRAPH)
        pad = AutoConfig.from_pretrained(folder, trust_remote_code=False).pad_token_id
        self._padded = PaddedTexts(
            load_tokenizer(str(folder)), self.settings, pad or 0, self._encode_batch
        )

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of texts, ``[texts, dim]``."""
        return self._padded(texts)

    def user_vectors(
        self, clicked: NDArray[np.float32], mask: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """User vectors, ``[users, dim]``; their dot product with a news vector is its score.

        Shapes:
            clicked: ``[users, history_length, dim]``, vectors of the clicked articles.
            mask: ``[users, history_length]``, True where the slot holds a click.
        """
        return self._user.run(None, {"history": clicked, "clicked": mask})[0]

    def _encode_batch(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        return self._news.run(None, {"input_ids": input_ids, "attention_mask": attention_mask})[0]


def session(graph: Path) -> Any:
    """What runs a graph, on the CPU and with as many threads as torch has now.

    Raises:
        ModuleNotFoundError: onnxruntime is not installed.
        ValueError: the graph cannot be read.
    """
    onnxruntime = library("onnxruntime", "An export to ONNX")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    try:
        return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    except Exception as problem:  # onnxruntime's own classes have no common base
        raise ValueError(
            f"{graph} expects an ONNX graph that onnxruntime {onnxruntime.__version__} reads: "
            f"{str(problem)[:300]} Export it again, or install a newer onnxruntime."
        ) from problem
