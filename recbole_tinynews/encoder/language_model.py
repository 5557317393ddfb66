"""Loads pretrained language models, cut to their first layers, and heads for masked tokens."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from logging import getLogger
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForMaskedLM, PreTrainedModel

from recbole_tinynews.encoder.generic_layers import UNUSED, find_layers, first_position
from recbole_tinynews.encoder.plm_files import (
    cut_config,
    encoder_of,
    load_config,
    read_pretrained,
    unreadable,
    with_projection,
)
from recbole_tinynews.files.tensors import check_weights


def load_plm(source: str, num_hidden_layers: int | None = None) -> PreTrainedModel:
    """A language model, or an encoder-decoder's encoder, with its first layers (``None``: all).

    An unused pooler stays, because published sizes count it. Raises ``ValueError`` if there is no
    such model, it has fewer layers, or weights are missing, damaged or of the wrong size.
    """
    plm = encoder_of(load_whole_plm(source))
    path, layers = find_layers(plm)
    depth = plm.config.num_hidden_layers
    keep = depth if num_hidden_layers is None else num_hidden_layers
    if not min(1, depth) <= keep <= depth:
        raise ValueError(
            f"plm={source} has {depth} layers, got num_hidden_layers={keep}. "
            f"Set it to 1..{depth}, or ~ for all."
        )
    if len(layers) == depth:
        parent, _, name = path.rpartition(".")
        setattr(plm.get_submodule(parent), name, nn.ModuleList(layers[:keep]))
    cut_config(plm.config, keep)
    return with_projection(plm, source, pretrained=True)


def load_whole_plm(source: str) -> PreTrainedModel:
    """All layers of a language model, with both parts of an encoder-decoder; see ``load_plm``."""
    try:
        for file in Path(source).glob("*.safetensors"):
            check_weights(file)
    except ValueError as problem:
        raise unreadable(source, problem) from problem
    plm, loading = _load(AutoModel, source, "model")
    _check_weights(source, plm, loading["missing_keys"])
    return plm


def _load(auto: Any, source: str, part: str) -> tuple[PreTrainedModel, dict[str, Any]]:
    """A model in full precision, and transformers' report on its weights."""
    options = {"dtype": "float32", "output_loading_info": True}
    return read_pretrained(auto, source, part, config=load_config(source), **options)


def _check_weights(source: str, plm: PreTrainedModel, missing: Iterable[str]) -> None:
    """Refuse a language model with missing weights, which would be random."""
    wanted = [name for name, _ in plm.named_parameters() if UNUSED not in name]
    absent = sorted(set(missing).intersection(wanted))
    if absent:
        raise ValueError(
            f"plm={source} expects weights for all of its {len(wanted)} tensors, and lacks "
            f"{len(absent)}, such as {absent[0]}: they would be random. Use a complete folder."
        )


def load_language_model_head(
    source: str, word_embeddings: nn.Parameter, counts: Tensor
) -> nn.Module:
    """The head for masked tokens: ``[..., hidden]`` -> scores ``[..., vocabulary]``.

    The language model's own, if any; otherwise random, with log frequencies of tokens (``counts``,
    ``[vocabulary]``) as bias. Its decoder is tied to ``word_embeddings``, ``[vocabulary, hidden]``.
    Raises ``ValueError`` for an architecture that has no such head.
    """
    try:
        whole, loading = _load(AutoModelForMaskedLM, source, "model for masked tokens")
        decoder, (names, head) = whole.get_output_embeddings(), _head_of(whole)
    except (ValueError, RuntimeError, TypeError) as problem:
        raise ValueError(
            f"plm={source} expects a language model for masked tokens, whose head reads its last "
            f"states, and {str(problem).splitlines()[0][:200]} Choose another plm for stages "
            "that train on masked tokens."
        ) from problem
    if any(missing.startswith(names) for missing in loading["missing_keys"]):
        getLogger().info(f"{source} has no head for masked tokens, which starts random.")
        if decoder.bias is not None:
            with torch.no_grad():
                decoder.bias.copy_(((counts + 1) / (counts + 1).sum()).log())
    decoder.weight = word_embeddings
    return head


@torch.no_grad()
def _head_of(whole: PreTrainedModel) -> tuple[tuple[str, ...], nn.Module]:
    """Weight prefixes and modules of the head; ``ValueError`` if they do not reproduce it."""
    names = {part: name for name, part in whole.named_children() if part is not whole.base_model}
    ran: list[nn.Module] = []
    states: list[Any] = []
    hooks = [whole.base_model.register_forward_hook(lambda _, __, out: states.append(out[0]))]
    hooks += [part.register_forward_pre_hook(lambda part, _: ran.append(part)) for part in names]
    whole.eval()
    logits = whole(input_ids=torch.tensor([[5, 6, 7]])).logits
    for hook in hooks:
        hook.remove()
    parts = list(dict.fromkeys(ran))
    head = parts[0] if len(parts) == 1 else nn.Sequential(*parts)
    if not states or not torch.allclose(head(states[-1]), logits, rtol=1e-4, atol=1e-4):
        raise ValueError(f"the head of {type(whole).__name__} is different.")
    return tuple(f"{names[part]}." for part in parts), head


def longest_text(plm: PreTrainedModel) -> int:
    """Maximum number of tokens; RoBERTa's positions start after that of padding."""
    positions = getattr(plm.config, "max_position_embeddings", None)
    if positions is None:  # unlimited positions (T5)
        return sys.maxsize
    return int(positions) - first_position(plm)
