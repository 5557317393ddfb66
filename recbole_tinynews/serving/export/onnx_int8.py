"""``--to=onnx-int8``: the ONNX graphs, the news encoder's with int8 weights.

onnxruntime's dynamic quantisation: weights are rounded once, a scale for each column, and inputs as
they come, so nothing has to be calibrated. The embeddings are int8 too. The user encoder stays as
it is: it is small, and its scores are what is ranked by.
"""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tinynews.serving.export.int8_linear import exchange_linears
from recbole_tinynews.serving.export.libraries import library
from recbole_tinynews.serving.export.onnx_engine import NEWS_GRAPH
from recbole_tinynews.serving.export.onnx_graphs import write_graphs
from recbole_tinynews.serving.export.source import Source

TINY = 1e-20  # a row of zeros is divided by it


class RowScaledLinear(nn.Module):
    """The same linear layer, on inputs divided by the largest number of their row.

    onnxruntime rounds all inputs of a layer with one scale. So prepared, they all reach from -1 to
    1: each token is rounded as if it had a scale of its own, an outlier spoils no other token, and
    a vector hardly depends on the texts beside it.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, inputs: Tensor) -> Tensor:
        """``[..., in_features]`` -> ``[..., out_features]``."""
        largest = inputs.abs().amax(dim=-1, keepdim=True).clamp(min=TINY)
        outputs = F.linear(inputs / largest, self.linear.weight) * largest
        return outputs if self.linear.bias is None else outputs + self.linear.bias


def write_onnx_int8(source: Source, folder: Path) -> None:
    """Write both graphs, configuration and tokenizer of the language model into the folder."""
    library("onnxruntime.quantization", "--to=onnx-int8")
    news_encoder = source.padded("eager")
    exchange_linears(news_encoder.plm, RowScaledLinear)
    write_graphs(source, news_encoder, folder)
    with tempfile.TemporaryDirectory(dir=folder) as beside:
        rounded = Path(beside) / NEWS_GRAPH
        write_rounded(folder / NEWS_GRAPH, rounded)
        os.replace(rounded, folder / NEWS_GRAPH)


def write_rounded(graph: Path, rounded: Path) -> None:
    """Write a graph with its weights as int8."""
    quantization = library("onnxruntime.quantization", "--to=onnx-int8")
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # it advises to optimise the graph first, which changed nothing
    try:
        quantization.quantize_dynamic(
            graph,
            rounded,
            per_channel=True,
            # signed weights: faster than unsigned ones where the processor has VNNI
            weight_type=quantization.QuantType.QInt8,
        )
    finally:
        logger.setLevel(level)
