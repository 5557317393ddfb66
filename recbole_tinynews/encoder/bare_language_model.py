"""A language model without its weights: configuration and tokenizer, a few hundred KB.

They are saved with a finished recommender, whose weights include those of its language model.
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModel, PreTrainedModel

from recbole_tinynews.encoder.language_model import cut_config, encoder_of, load_tokenizer
from recbole_tinynews.files.whole import whole_folder


def write_bare_plm(source: str, folder: Path, num_hidden_layers: int | None = None) -> None:
    """Save configuration and fast tokenizer of a language model in ``folder``, all or nothing.

    The configuration says how many of its layers the recommender has, where it has fewer.

    An existing folder is kept: it was written for the same weights.
    """
    if folder.is_dir():
        return
    with whole_folder(folder, first_wins=True) as unfinished:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        if num_hidden_layers is not None:
            cut_config(config, num_hidden_layers)
        config.save_pretrained(unfinished)
        load_tokenizer(source).save_pretrained(unfinished)


def bare_plm(source: str, num_hidden_layers: int | None = None) -> PreTrainedModel:
    """A language model with random weights, for a caller that loads a recommender's into it.

    Use ``load_plm`` to get the weights of ``source``.
    """
    config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    if num_hidden_layers is not None:
        cut_config(config, num_hidden_layers)
    plm = AutoModel.from_config(config, dtype=torch.float32, trust_remote_code=False)
    return encoder_of(plm)
