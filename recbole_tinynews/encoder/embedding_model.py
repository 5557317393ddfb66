"""How an embedding model is meant to be used, by the files that sentence-transformers writes.

``modules.json`` names the modules after the language model, each with a folder: pooling, dense
layers and normalisation; ``config_sentence_transformers.json`` has prompts. The library itself is
not imported.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import constants
from huggingface_hub.utils import get_session
from torch import nn
from transformers.utils.hub import cached_file

from recbole_tinynews.files.lines import read_json, untrusted
from recbole_tinynews.files.tensors import WEIGHTS, check_weights, load_into, load_weights

MODULES, PROMPTS = "modules.json", "config_sentence_transformers.json"
CONFIG = "config.json"
TRANSFORMER, POOLING, DENSE, NORMALISE = "Transformer", "Pooling", "Dense", "Normalize"
POOLINGS = {"mean": "mean", "cls": "cls", "lasttoken": "last", "weightedmean": "weighted_mean"}
# names of earlier versions, each a switch
SWITCHES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
}
ACTIVATIONS = {each.__name__: each for each in (nn.Identity, nn.Tanh, nn.ReLU, nn.GELU, nn.SiLU)}
WIDEST, MOST_MODULES = 8_192, 10  # of dense layers; of a model
HUB_SECONDS = 3  # for the hub to answer


class EmbeddingModel(NamedTuple):
    """Pooling, the prompt before each text, and folders of dense layers after the pooling."""

    source: str
    pooling: str
    prompt: str
    dense: tuple[str, ...]

    def projection(self, pretrained: bool) -> nn.Sequential:
        """The dense layers, empty if there are none; random unless ``pretrained``."""
        return nn.Sequential(*(self._dense(name, pretrained) for name in self.dense))

    def size(self) -> int:
        """Size of a vector after the dense layers."""
        file = _needed(self.source, f"{self.dense[-1]}/{CONFIG}")
        with untrusted(file):
            return _layer_of(read_json(file))[0][1]

    def write(self, folder: Path, with_weights: bool) -> None:
        """Write what it says into the folder of another language model."""
        folders = [name for kind, name in _modules(self.source) if kind != TRANSFORMER]
        names = [MODULES, *(f"{name}/{CONFIG}" for name in folders), PROMPTS]
        names += [f"{name}/{WEIGHTS}" for name in self.dense if with_weights]
        for name in names:
            if file := _file(self.source, name):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(file.read_bytes())

    def _dense(self, name: str, pretrained: bool) -> nn.Sequential:
        file = _needed(self.source, f"{name}/{CONFIG}")
        with untrusted(file):
            sizes, has_bias, activation = _layer_of(read_json(file))
            layer = nn.Sequential(nn.Linear(*sizes, bias=has_bias), activation)
        if pretrained:
            weights = _needed(self.source, f"{name}/{WEIGHTS}")
            check_weights(weights)
            renamed = {"0" + n.removeprefix("linear"): t for n, t in load_weights(weights).items()}
            load_into(layer, renamed, weights)
        return layer.requires_grad_(False)


def embedding_model(source: str) -> EmbeddingModel | None:
    """What the folder or hub name ``source`` says of its use; ``None`` if it says nothing.

    ``ValueError`` for a pooling or module that is not known here, or a damaged file.
    """
    modules = _modules(source)
    if not modules:
        return None
    pooling, prompt, dense = "", _prompt_of(source), []
    for kind, name in modules:
        if kind == POOLING and not pooling:
            file = _needed(source, f"{name}/{CONFIG}")
            with untrusted(file):
                pooling = _pooling_of(read_json(file), bool(prompt))
        elif kind == DENSE and pooling:
            dense.append(name)
        elif kind not in (TRANSFORMER, NORMALISE) or (kind == NORMALISE and not pooling):
            raise ValueError(
                f"plm={source} must consist of a Transformer, Pooling, then Dense and Normalize, "
                f"got a module {kind:.100} in its {MODULES}. Choose another plm, or use a copy "
                f"without {MODULES} as a plain language model."
            )
    return EmbeddingModel(source, pooling or "mean", prompt, tuple(dense))


def files_of_modules(folder: Path) -> list[Path]:
    """The files of the modules after the language model that a folder names, if it has them."""
    names = [Path(name) / file for _, name in _modules(str(folder)) for file in (CONFIG, WEIGHTS)]
    return [folder / name for name in names if name.parent != Path() and (folder / name).is_file()]


def _modules(source: str) -> list[tuple[str, str]]:
    """Class name and folder of each module, in order."""
    file = _file(source, MODULES)
    if file is None:
        return []
    with untrusted(file):
        listed = read_json(file)
        modules = [(each["type"].rpartition(".")[2], each["path"]) for each in listed]
        if len(modules) > MOST_MODULES:
            raise ValueError(f"there must be at most {MOST_MODULES} modules, got {len(modules):,}")
        for kind, name in modules:
            outside = Path(name).is_absolute() or ".." in name
            if outside or (kind != TRANSFORMER and not name):
                raise ValueError(f"a module must be in a folder of the model, got {name!r:.100}")
    return modules


def _pooling_of(config: Mapping[str, Any], has_prompt: bool) -> str:
    mode = config.get("pooling_mode")
    modes = [mode] if isinstance(mode, str) else mode
    if modes is None:
        modes = [name for switch, name in SWITCHES.items() if config.get(switch)]
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise ValueError(f"its pooling must be one of {', '.join(POOLINGS)}, got {modes!r:.100}")
    if config.get("include_prompt") is False and has_prompt:
        raise ValueError("its pooling must include the prompt, got include_prompt=false")
    return POOLINGS[modes[0]]


def _layer_of(config: Mapping[str, Any]) -> tuple[tuple[int, int], bool, nn.Module]:
    """Sizes, whether it has a bias, and the activation of a dense layer."""
    sizes = config["in_features"], config["out_features"]
    name = str(config.get("activation_function", "Tanh")).rpartition(".")[2]
    if not all(type(size) is int and 1 <= size <= WIDEST for size in sizes):
        raise ValueError(f"a dense layer must have sizes of 1 to {WIDEST:,}, got {sizes!r:.100}")
    if name not in ACTIVATIONS or config.get("use_residual"):
        raise ValueError(
            f"a dense layer must have no residual and one of the activations "
            f"{', '.join(ACTIVATIONS)}, got {name:.100}"
        )
    return sizes, bool(config.get("bias", True)), ACTIVATIONS[name]()


def _prompt_of(source: str) -> str:
    file = _file(source, PROMPTS)
    if file is None:
        return ""
    with untrusted(file):
        config = read_json(file)
        default = config.get("default_prompt_name")
        prompt = "" if default is None else config["prompts"][default]
        if not isinstance(prompt, str):
            raise ValueError(f"a prompt must be a text, got {prompt!r:.100}")
    return prompt


def _needed(source: str, name: str) -> Path:
    file = _file(source, name)
    if file is None:
        raise ValueError(
            f"plm={source} must have {name}, which its {MODULES} names, got none. Copy the model "
            "again, or choose another plm."
        )
    return file


def _file(source: str, name: str) -> Path | None:
    """A file of a folder, or of the hub's model of this name; ``None`` if it has none."""
    if Path(source).is_dir():
        file = Path(source) / name
        return file if file.is_file() else None
    try:
        found = cached_file(
            source,
            name,
            local_files_only=not hub_answers(),
            _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    except (OSError, ValueError):  # no name of the hub: whoever loads the model says so
        return None
    return None if found is None else Path(found)


@cache
def hub_answers() -> bool:
    """Whether the hub can be reached; huggingface_hub would retry for more than a minute."""
    if constants.HF_HUB_OFFLINE:
        return False
    answers: list[Any] = []

    def ask() -> None:
        with suppress(Exception):  # errors of its HTTP library, which varies by version
            answers.append(get_session().head(constants.ENDPOINT, timeout=HUB_SECONDS))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(HUB_SECONDS)  # name resolution has no timeout
    return bool(answers)
