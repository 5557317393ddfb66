"""``--to=onnx-int8``: the ONNX graphs, with int8 weights in the news encoder.

onnxruntime's dynamic quantisation, without calibration: a scale per column of the weights, and
inputs quantised at run time. Embeddings are int8 too; the small user encoder stays in fp32.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tinynews.serving.export.formats import Format
from recbole_tinynews.serving.export.formats.onnx import (
    NEWS_GRAPH,
    OnnxEngine,
    example,
    write_graphs,
)
from recbole_tinynews.serving.export.source import Source
from recbole_tinynews.serving.libraries import library

TINY = 1e-20  # divisor for rows of zeros


class RowScaledLinear(nn.Module):
    """Linear layer that divides each input row by its largest absolute value, and scales back.

    onnxruntime quantises all inputs of a layer with one scale. Normalised rows effectively have
    one each, so an outlier affects no other token, and a vector hardly depends on its batch.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, inputs: Tensor) -> Tensor:
        """``[..., in_features]`` -> ``[..., out_features]``."""
        largest = inputs.abs().amax(dim=-1, keepdim=True).clamp(min=TINY)
        outputs = F.linear(inputs / largest, self.linear.weight) * largest
        return outputs if self.linear.bias is None else outputs + self.linear.bias


def replace_linears(module: nn.Module, make: Callable[[nn.Linear], nn.Module]) -> None:
    """Replace each linear layer inside a module by ``make(layer)``."""
    for name, part in module.named_children():
        if isinstance(part, nn.Linear):
            setattr(module, name, make(part))
        else:
            replace_linears(part, make)


def quantize(graph: Path, quantized: Path) -> None:
    """Quantise the weights of a graph to int8."""
    quantization = library("onnxruntime.quantization", "--to=onnx-int8")
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # it recommends optimising the graph, which changed nothing
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
    example,
    exact=False,
    note="onnxruntime uses one scale for all inputs of a layer, so a vector depends slightly on "
    "the texts encoded with it.",
)
