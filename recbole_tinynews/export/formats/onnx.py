"""``--to=onnx``: the news encoder and the user encoder as two ONNX graphs.

    news_encoder.onnx   input_ids, attention_mask [texts, tokens], int64 -> vectors [texts, dim]
    user_encoder.onnx   history [users, clicks, dim], clicked [users, clicks], bool
                        -> vectors [users, dim]

A score is the dot product of both. All sizes but ``dim`` are dynamic, including 0 clicks.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tinynews.encoder.padded import PaddedNewsEncoder
from recbole_tinynews.encoder.plm_files import save_bare_plm
from recbole_tinynews.encoder.users import UserEncoder
from recbole_tinynews.export.finished import FinishedRecommender
from recbole_tinynews.export.formats import Format
from recbole_tinynews.export.formats.hf import tokens_of, with_prefix
from recbole_tinynews.files.installation import library
from recbole_tinynews.pipeline.artifact import PLM
from recbole_tinynews.serving.exported import NEWS_GRAPH, ONNX, USER_GRAPH

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


def write_graphs(
    recommender: FinishedRecommender, news_encoder: PaddedNewsEncoder, folder: Path
) -> None:
    """Write both graphs, configuration and tokenizer."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        library(name, "--to=onnx")
    save_bare_plm(str(recommender.folder / PLM), folder, recommender.depth)
    write_news_graph(news_encoder, folder / NEWS_GRAPH)
    width = recommender.settings["history_length"]
    write_user_graph(recommender.user_encoder, width, folder / USER_GRAPH)


def write_user_graph(user_encoder: UserEncoder, width: int, file: Path) -> None:
    """Write a user encoder of the newest ``width`` clicks as a graph."""
    history = torch.randn(2, 3, len(user_encoder.pad_doc))  # sizes of 1 would be fixed
    inputs = {"history": history, "clicked": torch.ones(2, 3, dtype=torch.bool)}
    _write_graph(NewestClicks(user_encoder, width), inputs, ("users", "clicks"), file)


def write_news_graph(news_encoder: PaddedNewsEncoder, file: Path) -> None:
    """Write a news encoder with ``eager`` attention as a graph."""
    token_ids = torch.full((2, 3), 5)
    inputs = {"input_ids": token_ids, "attention_mask": torch.ones_like(token_ids)}
    _write_graph(news_encoder, inputs, ("texts", "tokens"), file)


def _write_graph(
    module: nn.Module, inputs: dict[str, Tensor], sizes: tuple[str, str], file: Path
) -> None:
    """Write a module whose inputs have these two sizes, which the graph leaves open."""
    dynamic = dict(enumerate(map(torch.export.Dim, sizes)))
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # of MultiheadAttention; ONNX lacks it
    try:
        with torch.no_grad():
            torch.onnx.export(
                module.eval(),
                (),
                str(file),
                kwargs=inputs,
                input_names=list(inputs),
                output_names=["vectors"],
                dynamic_shapes={name: dynamic for name in inputs},
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _write(recommender: FinishedRecommender, folder: Path) -> None:
    write_graphs(recommender, recommender.padded("eager"), folder)


FORMAT = Format(_write, ONNX, "onnx", example)
