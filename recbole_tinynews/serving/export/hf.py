"""``--to=hf``: the language model as ``AutoModel`` reads it, and the heads as safetensors."""

from __future__ import annotations

from pathlib import Path

from recbole_tinynews.serving.export.heads import write_heads
from recbole_tinynews.serving.export.plm_files import check_whole, write_tokenizer
from recbole_tinynews.serving.export.source import Source


def write_hf(source: Source, folder: Path) -> None:
    """Write the language model, cut to its layers, its tokenizer, and the heads.

    Raises:
        ValueError: ``AutoModel`` cannot read it by itself.
    """
    check_whole(source, "hf")
    source.padded("sdpa").plm.save_pretrained(folder)
    write_tokenizer(source, folder)
    write_heads(source.heads, folder)
