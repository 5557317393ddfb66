"""A language model without its weights: configuration and tokenizer, a few hundred KB.

They travel with a finished recommender, whose own weights hold all of its language model's.
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModel, PreTrainedModel

from recbole_tinynews.encoder.language_model import load_tokenizer
from recbole_tinynews.files.whole import whole_folder


def write_bare_plm(source: str, folder: Path) -> None:
    """Configuration and fast tokenizer of a language model, in ``folder`` whole or not at all.

    What lies there already stays: it was written for the same weights.
    """
    if folder.is_dir():
        return
    with whole_folder(folder, first_wins=True) as unfinished:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        config.save_pretrained(unfinished)
        load_tokenizer(source).save_pretrained(unfinished)


def bare_plm(source: str, num_hidden_layers: int | None = None) -> PreTrainedModel:
    """A language model with random weights, for a caller that loads a recommender's into it.

    Where weights are to be those of ``source``, use ``load_plm``.
    """
    config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    if num_hidden_layers is not None:
        config.num_hidden_layers = num_hidden_layers
    return AutoModel.from_config(
        config, attn_implementation="sdpa", dtype=torch.float32, trust_remote_code=False
    )
