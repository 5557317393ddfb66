"""``--to=onnx``: the news encoder and the user encoder as two ONNX graphs.

    news_encoder.onnx   input_ids, attention_mask [texts, tokens], int64 -> vectors [texts, dim]
    user_encoder.onnx   history [users, clicks, dim], clicked [users, clicks], bool
                        -> vectors [users, dim]

A score is the dot product of both. All sizes but ``dim`` are free.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from recbole_tinynews.serving.export.libraries import library
from recbole_tinynews.serving.export.onnx_engine import NEWS_GRAPH, USER_GRAPH
from recbole_tinynews.serving.export.padded import PaddedNewsEncoder
from recbole_tinynews.serving.export.plm_files import write_configuration
from recbole_tinynews.serving.export.source import Source


def write_onnx(source: Source, folder: Path) -> None:
    """Write both graphs, configuration and tokenizer of the language model into the folder."""
    write_graphs(source, source.padded("eager"), folder)


def write_graphs(source: Source, news_encoder: PaddedNewsEncoder, folder: Path) -> None:
    """Write both graphs, and what belongs to them, with this news encoder for the source's own."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        library(name, "--to=onnx")
    write_configuration(source, folder)
    write_news_graph(news_encoder, folder / NEWS_GRAPH)
    users, clicks = torch.export.Dim("users"), torch.export.Dim("clicks")
    history = torch.randn(2, 3, source.settings["news_dim"])
    _write(
        source.heads.user_encoder,
        {"history": history, "clicked": torch.ones(2, 3, dtype=torch.bool)},
        {name: {0: users, 1: clicks} for name in ("history", "clicked")},
        folder / USER_GRAPH,
    )


def write_news_graph(news_encoder: PaddedNewsEncoder, file: Path) -> None:
    """Write a news encoder, whose attention is ``eager``, as a graph."""
    token_ids = torch.full((2, 3), 5)  # sizes of 1 would be fixed
    texts, tokens = torch.export.Dim("texts"), torch.export.Dim("tokens")
    _write(
        news_encoder,
        {"input_ids": token_ids, "attention_mask": torch.ones_like(token_ids)},
        {name: {0: texts, 1: tokens} for name in ("input_ids", "attention_mask")},
        file,
    )


def _write(
    module: nn.Module,
    inputs: dict[str, torch.Tensor],
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
    """Without the exporter's warnings about its own insides, and with attention as it is written.

    torch's fast path of ``MultiheadAttention`` has no counterpart in ONNX.
    """
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
