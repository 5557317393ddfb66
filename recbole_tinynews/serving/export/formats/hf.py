"""``--to=hf``: the language model for ``AutoModel``, and the heads as safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_tinynews.serving.export.formats import Format
from recbole_tinynews.serving.export.source import Source
from recbole_tinynews.serving.export.torch_engine import TorchEngine, write_heads
from recbole_tinynews.serving.export.usage import POOL, ranking_by_torch, tokens_of, with_prefix

EXAMPLE = """import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

tokenizer, plm = AutoTokenizer.from_pretrained(FOLDER), AutoModel.from_pretrained(FOLDER)
news, user = (load_file(f"{FOLDER}/{name}_encoder.safetensors") for name in ("news", "user"))
"""
POOLED = {"attention": "pool(states, news)", "mean": "states.mean(0)", "cls": "states[0]"}


def _example(settings: Mapping[str, Any]) -> str:
    pooled, dense = POOLED[settings["news_pooling"]], "torch.nn.functional.linear({}, {}, {})"
    weights = 'news["dense.weight"]', 'news["dense.bias"]'
    vector = dense.format(pooled, *weights)
    if settings["head_init"] == "pretrained":
        centred = dense.format(f'{pooled} - news["dense.centre"]', *weights)
        vector = f"torch.nn.functional.normalize({centred}, dim=0)"
    tokens = tokens_of(with_prefix("text", settings), settings, return_tensors='"pt"')
    return "\n".join(
        (
            EXAMPLE + POOL,
            "@torch.no_grad()",
            "def encode(text):",
            f"    states = plm(**{tokens}).last_hidden_state[0]",
            f"    return {vector}",
            "",
            "vectors = torch.stack([encode(text) for text in CLICKS + CANDIDATES])",
            ranking_by_torch(settings),
        )
    )


def _write(source: Source, folder: Path) -> None:
    source.check_auto_model("hf")
    source.padded("sdpa").plm.save_pretrained(folder)
    source.write_tokenizer(folder)
    write_heads(source.heads, folder)


FORMAT = Format(_write, TorchEngine, "transformers", _example)
