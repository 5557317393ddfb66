"""Configuration and tokenizer of the language model, as other formats need them."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoConfig

from recbole_tinynews.encoder.plm_files import cut_config, load_tokenizer
from recbole_tinynews.pipeline.artifact import PLM
from recbole_tinynews.serving.export.source import Source


def write_configuration(source: Source, folder: Path) -> None:
    """Write ``config.json`` with the true depth, and the tokenizer, into the folder."""
    config = AutoConfig.from_pretrained(source.folder / PLM, trust_remote_code=False)
    cut_config(config, source.text_encoder.plm.config.num_hidden_layers)
    config.save_pretrained(folder)
    write_tokenizer(source, folder)


def write_tokenizer(source: Source, folder: Path) -> None:
    """Write the tokenizer into the folder."""
    load_tokenizer(str(source.folder / PLM)).save_pretrained(folder)


def check_whole(source: Source, to: str) -> None:
    """Refuse a language model that ``AutoModel`` cannot read by itself.

    Raises:
        ValueError: it is the encoder of an encoder-decoder.
    """
    config = AutoConfig.from_pretrained(source.folder / PLM, trust_remote_code=False)
    if config.is_encoder_decoder:
        raise ValueError(
            f"--to={to} expects a language model that AutoModel reads by itself, and this one is "
            f"the encoder of an encoder-decoder ({config.model_type}). Use --to=onnx."
        )
