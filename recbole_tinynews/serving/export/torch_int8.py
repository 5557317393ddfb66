"""``--to=torch-int8``: the language model with int8 weights, as safetensors, run by torch alone."""

from __future__ import annotations

from pathlib import Path

from recbole_tinynews.files.tensors import save_weights
from recbole_tinynews.serving.export.heads import write_heads
from recbole_tinynews.serving.export.int8_linear import Int8Linear, exchange_linears
from recbole_tinynews.serving.export.plm_files import write_configuration
from recbole_tinynews.serving.export.source import Source
from recbole_tinynews.serving.export.torch_engine import INT8_WEIGHTS


def write_torch_int8(source: Source, folder: Path) -> None:
    """Write int8 weights of the language model, the heads in fp32, and the tokenizer."""
    plm = source.padded("sdpa").plm
    write_configuration(source, folder)
    exchange_linears(plm, Int8Linear.of)
    save_weights(plm.state_dict(), folder / INT8_WEIGHTS)
    write_heads(source.heads, folder)
