"""``--to=hf``: the language model for ``AutoModel``, and the heads as safetensors."""

from __future__ import annotations

from pathlib import Path

from recbole_tinynews.serving.export.formats import Format
from recbole_tinynews.serving.export.heads import write_heads
from recbole_tinynews.serving.export.source import Source
from recbole_tinynews.serving.export.torch_engine import TorchEngine

EXAMPLE = """from transformers import AutoModel, AutoTokenizer

language_model = AutoModel.from_pretrained(FOLDER)
tokenizer = AutoTokenizer.from_pretrained(FOLDER)"""


def _write(source: Source, folder: Path) -> None:
    source.check_auto_model("hf")
    source.padded("sdpa").plm.save_pretrained(folder)
    source.write_tokenizer(folder)
    write_heads(source.heads, folder)


FORMAT = Format(_write, TorchEngine, "transformers", EXAMPLE)
