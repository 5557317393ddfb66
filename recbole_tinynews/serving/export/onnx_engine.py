"""Ranks from ONNX graphs: onnxruntime computes, and no torch model is built."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoConfig

from recbole_tinynews.encoder.plm_files import load_tokenizer
from recbole_tinynews.serving.engine import Engine
from recbole_tinynews.serving.export.description import Description
from recbole_tinynews.serving.export.libraries import library
from recbole_tinynews.serving.export.texts import PaddedTexts

NEWS_GRAPH, USER_GRAPH = "news_encoder.onnx", "user_encoder.onnx"


class OnnxEngine(Engine):
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
        super().__init__(description.settings, description.identity)
        self._news, self._user = session(folder / NEWS_GRAPH), session(folder / USER_GRAPH)
        pad = AutoConfig.from_pretrained(folder, trust_remote_code=False).pad_token_id
        self._padded = PaddedTexts(
            load_tokenizer(str(folder)), self.settings, pad or 0, self._encode_batch
        )

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Vectors of texts, ``[texts, dim]``, float32."""
        return torch.from_numpy(self._padded(texts))

    def user_vectors(self, vectors: Tensor, histories: Tensor) -> Tensor:
        """Vectors of users from those of their clicks, ``[users, dim]``."""
        given = {"history": vectors[histories].numpy(), "clicked": (histories != 0).numpy()}
        return torch.from_numpy(self._user.run(None, given)[0])

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
