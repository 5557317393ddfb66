"""``--to=onnx``: the news encoder and the user encoder as two ONNX graphs.

    news_encoder.onnx   input_ids, attention_mask [texts, tokens], int64 -> vectors [texts, dim]
    user_encoder.onnx   history [users, clicks, dim], clicked [users, clicks], bool
                        -> vectors [users, dim]

A score is the dot product of both. All sizes but ``dim`` are dynamic, including 0 clicks.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tinynews.encoder.plm_files import load_config
from recbole_tinynews.encoder.users.attentive import UserEncoder
from recbole_tinynews.serving.export.description import Description
from recbole_tinynews.serving.export.formats import Format
from recbole_tinynews.serving.export.source import Source
from recbole_tinynews.serving.export.torch_engine import PaddedEngine, PaddedNewsEncoder
from recbole_tinynews.serving.export.usage import tokens_of, with_prefix
from recbole_tinynews.serving.libraries import library

NEWS_GRAPH, USER_GRAPH = "news_encoder.onnx", "user_encoder.onnx"
EXAMPLE = """import numpy as np
import onnxruntime
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(FOLDER)
news, user = (
    onnxruntime.InferenceSession(f"{FOLDER}/{name}_encoder.onnx") for name in ("news", "user")
)

tokens = TOKENS
(vectors,) = news.run(None, dict(tokens))
clicks, candidates = vectors[None, : len(CLICKS)], vectors[len(CLICKS) :]
clicked = np.ones(clicks.shape[:2], bool)  # False for padding of shorter histories
(readers,) = user.run(None, {"history": clicks, "clicked": clicked})
scores = dict(zip(CANDIDATES, (candidates @ readers[0]).tolist()))"""


def example(settings: Mapping[str, Any]) -> str:
    """Code that ranks with onnxruntime and the tokenizer."""
    texts = "CLICKS + CANDIDATES"
    if settings["text_prefix"]:
        texts = f"[{with_prefix('text', settings)} for text in {texts}]"
    options = {"return_tensors": '"np"', "return_token_type_ids": "False"}
    return EXAMPLE.replace("TOKENS", tokens_of(texts, settings, **options))


class OnnxEngine(PaddedEngine):
    """Ranks with the two graphs on the CPU; thread-safe. ``session`` lists the errors."""

    def __init__(self, folder: Path, description: Description) -> None:
        super().__init__(folder, description, load_config(str(folder)).pad_token_id)
        self._news, self._user = session(folder / NEWS_GRAPH), session(folder / USER_GRAPH)

    def user_vectors(self, vectors: Tensor, histories: Tensor) -> Tensor:
        """User vectors, ``[users, dim]``."""
        given = {"history": vectors[histories].numpy(), "clicked": (histories != 0).numpy()}
        return torch.from_numpy(self._user.run(None, given)[0])

    def _encode_batch(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        return self._news.run(None, {"input_ids": input_ids, "attention_mask": attention_mask})[0]


def session(graph: Path) -> Any:
    """An onnxruntime session on the CPU with torch's threads; ``ValueError`` for a bad graph."""
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


class NewestClicks(nn.Module):
    """A user encoder of the newest ``width`` clicks, padded in front as in training.

    The fixed width gives a user without clicks the learned vector (pooling over an empty axis
    gives zeros), and lets learned padding count for histories of any length.
    """

    def __init__(self, user_encoder: nn.Module, width: int) -> None:
        super().__init__()
        self.user_encoder, self.width = user_encoder, width

    def forward(self, history: Tensor, clicked: Tensor) -> Tensor:
        """User vectors, ``[users, dim]``; inputs as for ``user_encoder.onnx``, newest last."""
        history = F.pad(history, (0, 0, self.width, 0))
        clicked = F.pad(clicked.long(), (self.width, 0))
        # clicks last, in their order: a longer history may be padded in front or at the end
        places = torch.arange(clicked.shape[1]) + clicked * clicked.shape[1]
        newest = places.topk(self.width).indices.flip(1)
        history = history.gather(1, newest[..., None].expand(-1, -1, history.shape[2]))
        return self.user_encoder(history, clicked.gather(1, newest) > 0)


def write_graphs(source: Source, news_encoder: PaddedNewsEncoder, folder: Path) -> None:
    """Write both graphs, configuration and tokenizer."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        library(name, "--to=onnx")
    source.write_configuration(folder)
    write_news_graph(news_encoder, folder / NEWS_GRAPH)
    width = source.settings["history_length"]
    write_user_graph(source.heads.user_encoder, width, folder / USER_GRAPH)


def write_user_graph(user_encoder: UserEncoder, width: int, file: Path) -> None:
    """Write a user encoder of the newest ``width`` clicks as a graph."""
    users, clicks = torch.export.Dim("users"), torch.export.Dim("clicks")
    history = torch.randn(2, 3, len(user_encoder.pad_doc))
    _write_graph(
        NewestClicks(user_encoder, width),
        {"history": history, "clicked": torch.ones(2, 3, dtype=torch.bool)},
        {name: {0: users, 1: clicks} for name in ("history", "clicked")},
        file,
    )


def write_news_graph(news_encoder: PaddedNewsEncoder, file: Path) -> None:
    """Write a news encoder with ``eager`` attention as a graph."""
    token_ids = torch.full((2, 3), 5)  # sizes of 1 would be fixed
    texts, tokens = torch.export.Dim("texts"), torch.export.Dim("tokens")
    _write_graph(
        news_encoder,
        {"input_ids": token_ids, "attention_mask": torch.ones_like(token_ids)},
        {name: {0: texts, 1: tokens} for name in ("input_ids", "attention_mask")},
        file,
    )


def _write_graph(
    module: nn.Module,
    inputs: dict[str, Tensor],
    sizes: dict[str, dict[int, torch.export.Dim]],
    file: Path,
) -> None:
    with _quiet(), torch.no_grad():
        torch.onnx.export(
            module.eval(),
            (),
            str(file),
            kwargs=inputs,
            input_names=list(inputs),
            output_names=["vectors"],
            dynamic_shapes=sizes,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter, and disable ``MultiheadAttention``'s fast path, which ONNX lacks."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        torch.backends.mha.set_fastpath_enabled(fast)


def _write(source: Source, folder: Path) -> None:
    write_graphs(source, source.padded("eager"), folder)


FORMAT = Format(_write, OnnxEngine, "onnx", example)
