"""``--to=onnx-int8``: the ONNX graphs, with int8 weights in the news encoder.

onnxruntime's dynamic quantisation, without calibration: a scale per column of the weights, and
inputs quantised at run time. Embeddings are int8 too; the small user encoder stays in fp32.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tinynews.export.finished import FinishedRecommender
from recbole_tinynews.export.formats import Format
from recbole_tinynews.export.formats.onnx import example, write_graphs
from recbole_tinynews.files.installation import library
from recbole_tinynews.serving.exported import NEWS_GRAPH, ONNX

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


def scale_rows(module: nn.Module) -> None:
    """Replace each linear layer inside a module by a ``RowScaledLinear``."""
    for name, part in module.named_children():
        if isinstance(part, nn.Linear):
            setattr(module, name, RowScaledLinear(part))
        else:
            scale_rows(part)


def quantize(graph: Path, quantized: Path) -> None:
    """Quantise the weights of a graph to int8."""
    quantization = library("onnxruntime.quantization", "--to=onnx-int8")
    # signed weights: faster than unsigned ones where the processor has VNNI
    signed = quantization.QuantType.QInt8
    quantization.quantize_dynamic(graph, quantized, per_channel=True, weight_type=signed)


def _write(recommender: FinishedRecommender, folder: Path) -> None:
    news_encoder = recommender.padded("eager")
    scale_rows(news_encoder.plm)
    write_graphs(recommender, news_encoder, folder)
    plain = (folder / NEWS_GRAPH).rename(folder / "plain.onnx")
    quantize(plain, folder / NEWS_GRAPH)
    plain.unlink()


FORMAT = Format(
    _write,
    ONNX,
    "onnx",
    example,
    exact=False,
    note="onnxruntime uses one scale for all inputs of a layer, so a vector depends slightly on "
    "the texts encoded with it.",
)
