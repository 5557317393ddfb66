"""``--to=onnx-int8``: the ONNX graphs, the news encoder's with int8 weights.

onnxruntime's dynamic quantisation: weights have a scale per column, inputs are quantised as they
come, and nothing is calibrated. The embeddings are int8 too; the small user encoder stays in fp32.
"""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tinynews.serving.export.formats import Format
from recbole_tinynews.serving.export.formats.onnx import (
    EXAMPLE,
    NEWS_GRAPH,
    OnnxEngine,
    write_graphs,
)
from recbole_tinynews.serving.export.formats.torch_int8 import replace_linears
from recbole_tinynews.serving.export.libraries import library
from recbole_tinynews.serving.export.source import Source

TINY = 1e-20  # the divisor of a row of zeros


class RowScaledLinear(nn.Module):
    """A linear layer whose inputs are divided by the largest number of their row, and scaled back.

    onnxruntime quantises all inputs of a layer with one scale. Rows that all span -1 to 1 have in
    effect a scale each: an outlier spoils no other token, and a vector hardly depends on its batch.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, inputs: Tensor) -> Tensor:
        """``[..., in_features]`` -> ``[..., out_features]``."""
        largest = inputs.abs().amax(dim=-1, keepdim=True).clamp(min=TINY)
        outputs = F.linear(inputs / largest, self.linear.weight) * largest
        return outputs if self.linear.bias is None else outputs + self.linear.bias


def quantize(graph: Path, quantized: Path) -> None:
    """Write a graph with int8 weights."""
    quantization = library("onnxruntime.quantization", "--to=onnx-int8")
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # it advises to optimise the graph first, which changed nothing
    try:
        quantization.quantize_dynamic(
            graph,
            quantized,
            per_channel=True,
            # signed weights: faster than unsigned ones where the processor has VNNI
            weight_type=quantization.QuantType.QInt8,
        )
    finally:
        logger.setLevel(level)


def _write(source: Source, folder: Path) -> None:
    library("onnxruntime.quantization", "--to=onnx-int8")
    news_encoder = source.padded("eager")
    replace_linears(news_encoder.plm, RowScaledLinear)
    write_graphs(source, news_encoder, folder)
    with tempfile.TemporaryDirectory(dir=folder) as beside:
        quantized = Path(beside) / NEWS_GRAPH
        quantize(folder / NEWS_GRAPH, quantized)
        os.replace(quantized, folder / NEWS_GRAPH)


FORMAT = Format(
    _write,
    OnnxEngine,
    "onnx",
    EXAMPLE,
    exact=False,
    note="onnxruntime uses one scale for all inputs of a layer, so a vector depends slightly on "
    "the texts encoded with it.",
)
