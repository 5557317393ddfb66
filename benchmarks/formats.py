"""A news encoder in the formats of ``export``, timed on one thread, for ``encode.py``."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import seconds_of
from numpy.typing import NDArray
from transformers import BertConfig, BertModel

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.encoder.one_text import OneTextEncoder
from recbole_tinynews.encoder.padded import Encode as EncodePadded
from recbole_tinynews.encoder.padded import PaddedNewsEncoder, encode_padded
from recbole_tinynews.encoder.text_encoder import TextEncoder
from recbole_tinynews.export.formats.onnx import write_news_graph
from recbole_tinynews.export.formats.onnx_int8 import quantize, scale_rows
from recbole_tinynews.serving.exported import session

INPUTS = ("input_ids", "attention_mask")
NEWS_DIM, QUERY_DIM = 256, 200
SETTINGS = {
    **{"news_pooling": "attention", "mask_padding_in_news_pooling": True, "head_init": "random"},
    **{"news_dim": NEWS_DIM, "query_dim": QUERY_DIM},
}
AT_ONCE = (1, 64)
ALONE = 64  # titles that are encoded one by one
REPEATS = 5
TOLERANCE = 1e-4

Encode = Callable[[NDArray[np.int64]], NDArray[np.float32]]  # rows of the tokens -> vectors
Rates = dict[str, dict[str, float]]


def has_vnni() -> bool:
    """Whether the processor multiplies int8 in one instruction (Linux says so)."""
    information = Path("/proc/cpuinfo")
    return information.is_file() and "vnni" in information.read_text()


@torch.no_grad()
def rates(tokens: Ragged, layers: int) -> Rates:
    """Titles per second, one by one and 64 at once, by format, and how far vectors are from fp32's.

    Formats take turns, and the median of their turns is taken. fp32 and bf16 are this package's own
    encoder, without padding.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            ways = _ways(tokens, layers, Path(folder))
            return _timed(ways, tokens)
    finally:
        torch.set_num_threads(threads)


def _ways(tokens: Ragged, layers: int, folder: Path) -> dict[str, Encode]:
    torch.manual_seed(0)
    plm = BertModel(BertConfig(num_hidden_layers=layers), add_pooling_layer=False).eval()
    text_encoder = TextEncoder(plm, NEWS_DIM, QUERY_DIM, finetune_layers=0)
    ours = OneTextEncoder(text_encoder, tokens).eval()
    padded = PaddedNewsEncoder(_with_own_attention(plm), SETTINGS).eval()
    padded.heads.load_state_dict(torch.nn.ModuleDict(text_encoder.heads).state_dict())
    write_news_graph(padded, folder / "fp32.onnx")
    scale_rows(padded.plm)
    write_news_graph(padded, folder / "scaled.onnx")
    quantize(folder / "scaled.onnx", folder / "int8.onnx")

    def bf16(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        with torch.autocast("cpu", torch.bfloat16):
            return ours.encode_distinct(rows).float().numpy()

    def of(encode: EncodePadded) -> Encode:
        return lambda rows: encode_padded(tokens, rows, 0, encode)

    def of_graph(graph: Any) -> Encode:
        return of(lambda *given: graph.run(None, dict(zip(INPUTS, given, strict=True)))[0])

    return {
        "fp32": lambda rows: ours.encode_distinct(rows).numpy(),
        "bf16": bf16,
        "onnx": of_graph(session(folder / "fp32.onnx")),
        "onnx-int8": of_graph(session(folder / "int8.onnx")),
    }


def _with_own_attention(plm: BertModel) -> BertModel:
    made = BertModel(plm.config, add_pooling_layer=False)
    made.load_state_dict(plm.state_dict())
    made.set_attn_implementation("eager")
    return made


def _timed(ways: dict[str, Encode], tokens: Ragged) -> Rates:
    ids = np.arange(1, tokens.rows)
    results: Rates = {name: {} for name in ways}
    reference = None
    for name, encode in ways.items():  # also warms up
        vectors = np.concatenate([encode(part) for part in _parts(ids, AT_ONCE[-1])])
        reference = vectors if reference is None else reference
        results[name]["difference"] = float(np.abs(vectors - reference).max())
    if not results["onnx"]["difference"] <= TOLERANCE:
        raise SystemExit(f"onnx: vectors differ by {results['onnx']['difference']:.1e}.")
    for at_once in AT_ONCE:
        chosen = ids[:ALONE] if at_once == 1 else ids
        parts = _parts(chosen, at_once)
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(REPEATS):
            for name, encode in ways.items():
                seconds[name].append(seconds_of(partial(_encode_all, encode, parts)))
        for name, taken in seconds.items():
            results[name][f"at_once_{at_once}"] = len(chosen) / statistics.median(taken)
    return results


def _encode_all(encode: Encode, parts: list[NDArray[np.int64]]) -> None:
    for part in parts:
        encode(part)


def _parts(ids: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    return [ids[start : start + size] for start in range(0, len(ids), size)]
