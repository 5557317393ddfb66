"""Exports: ``recommender.json``, written last, and engines in torch or onnxruntime."""

from __future__ import annotations

import inspect
import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recbole_tinynews.data.news_text import tokenise, with_abstract
from recbole_tinynews.encoder.plm_files import load_config, load_plm, load_tokenizer
from recbole_tinynews.encoder.pooling import AttentionPooling, UnitDense, mean_pooling, projected
from recbole_tinynews.encoder.static_model import LanguageModel
from recbole_tinynews.encoder.text_encoder import pooled_size
from recbole_tinynews.encoder.users import UserEncoder
from recbole_tinynews.files.array_cache import changed, checksums, content_key
from recbole_tinynews.files.columns import ABSTRACT, TITLE
from recbole_tinynews.files.installation import library
from recbole_tinynews.files.lines import read_json, untrusted
from recbole_tinynews.files.tensors import load_into, load_weights
from recbole_tinynews.files.whole import write_text
from recbole_tinynews.serving.engine import Engine
from recbole_tinynews.settings.table import unfit_value

FILE = "recommender.json"
CARD = "README.md"  # may be edited, so it has no checksum
EXPORT_FORMAT = 2  # increased when older exports would be misread
NEWS_DIM, NEWS_TOKENS = "news_dim", "news_tokens"  # maximum tokens of a text
SIZES = (NEWS_DIM, NEWS_TOKENS, "query_dim", "history_length")
LARGEST = 100_000  # of these sizes
NAMES = ("model_class", "dataset", "USER_ID_FIELD", "ITEM_ID_FIELD")
SETTINGS = (
    "model_class",
    "dataset",
    "seed",
    "num_hidden_layers",
    "news_text",
    "text_prefix",
    "news_pooling",
    "mask_padding_in_news_pooling",
    "head_init",
    "query_dim",
    "user_encoder",
    "history_padding",
    "history_length",
    "USER_ID_FIELD",
    "ITEM_ID_FIELD",
)


NEWS_HEADS, USER_ENCODER = "news_encoder.safetensors", "user_encoder.safetensors"
NEWS_GRAPH, USER_GRAPH = "news_encoder.onnx", "user_encoder.onnx"
TEXTS_AT_ONCE = 16  # larger batches have more padding, and 16 keep a processor busy


def write_description(folder: Path, **content: Any) -> None:
    """Write ``recommender.json`` with checksums of the other files.

    ``to`` is the format, ``engine`` the name of the engine that ranks with it, ``settings`` affect
    vectors and scores, ``made_from`` are the exported folder and fingerprints of its origins, and
    ``checked`` are differences from the recommender.
    """
    files = [file for file in folder.rglob("*") if file.is_file() and file.name not in (FILE, CARD)]
    content = {"export_format": EXPORT_FORMAT, **content, "files": checksums(folder, files)}
    write_text(folder / FILE, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse values of the wrong type, and implausible sizes."""
    for name in (*SETTINGS, NEWS_DIM, NEWS_TOKENS):
        value = settings[name]
        if name in SIZES:
            fits = type(value) is int and 1 <= value <= LARGEST
        elif name in NAMES:
            fits = isinstance(value, str)
        else:
            fits = value is None or unfit_value(name, value, value) is None
        if not fits:
            raise ValueError(f"{name}={value!r:.100} fits no recommender.")


class PaddedNewsEncoder(nn.Module):
    """Language model, with one of transformers' attentions, and its heads: pooling, dense layer."""

    def __init__(self, plm: LanguageModel, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.plm, self.kind = plm, settings["news_pooling"]
        self.mask_padding = settings["mask_padding_in_news_pooling"]
        dense = UnitDense if settings["head_init"] == "pretrained" else nn.Linear
        self.heads = nn.ModuleDict({"dense": dense(pooled_size(plm), settings[NEWS_DIM])})
        if self.kind == "attention":
            self.heads["pooling"] = AttentionPooling(plm.config.hidden_size, settings["query_dim"])
        accepted = inspect.signature(plm.forward).parameters
        self._options = {"use_cache": False} if "use_cache" in accepted else {}

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """``[texts, news_dim]`` from ids and mask, ``[texts, tokens]``, padded at the end."""
        states = self.plm(
            input_ids=input_ids, attention_mask=attention_mask, **self._options
        ).last_hidden_state
        return self.heads["dense"](projected(self.plm, self._pool(states, attention_mask)))

    def _pool(self, states: Tensor, attention_mask: Tensor) -> Tensor:
        if self.kind == "cls":
            return states[:, 0]
        if self.kind == "last":
            return states[torch.arange(len(states)), attention_mask.sum(dim=1) - 1]
        if self.kind == "weighted_mean":
            weights = attention_mask.cumsum(dim=1) * attention_mask
            weights = weights / weights.sum(dim=1, keepdim=True)
            return (states * weights.unsqueeze(-1)).sum(dim=1)
        mask = attention_mask.bool() if self.mask_padding else None
        return (self.heads["pooling"] if self.kind == "attention" else mean_pooling)(states, mask)


class PaddedEngine(Engine):
    """Encodes texts in padded batches; needs a fast tokenizer."""

    def __init__(
        self, folder: Path, settings: Mapping[str, Any], identity: str, pad_token_id: int | None
    ) -> None:
        super().__init__(settings, identity)
        self._tokenizer, self._pad_token_id = load_tokenizer(str(folder)), pad_token_id or 0

    @abstractmethod
    def _encode_batch(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Vectors, ``[texts, dim]``, from ids and mask, ``[texts, tokens]``."""

    def encode(self, columns: Mapping[str, Sequence[str]]) -> Tensor:
        """Vectors of articles, ``[articles, dim]``, float32."""
        longest, prefix = self.settings[NEWS_TOKENS], self.settings["text_prefix"] or ""
        every = map(with_abstract, columns[TITLE], columns.get(ABSTRACT) or repeat(""))
        tokens = tokenise(["", *every], self._tokenizer, longest, prefix=prefix)
        # pooling over pad tokens needs as many as in training
        width = 0 if self.settings["mask_padding_in_news_pooling"] else longest
        order = np.argsort(tokens.lengths[1:], kind="stable")  # batches are of similar lengths
        vectors = np.zeros((len(order), self.settings[NEWS_DIM]), np.float32)
        for start in range(0, len(order), TEXTS_AT_ONCE):
            some = order[start : start + TEXTS_AT_ONCE]
            ids = tokens.padded(some + 1, self._pad_token_id).astype(np.int64)
            missing = max(0, width - ids.shape[1])
            ids = np.pad(ids, ((0, 0), (0, missing)), constant_values=self._pad_token_id)
            mask = np.arange(ids.shape[1]) < tokens.lengths_of(some + 1)[:, None]
            vectors[some] = self._encode_batch(ids, mask.astype(np.int64))
        return torch.from_numpy(vectors)


class TorchEngine(PaddedEngine):
    """Ranks with the language model and the heads of a folder, in fp32 on the CPU."""

    user_encoder: UserEncoder

    def __init__(self, folder: Path, settings: Mapping[str, Any], identity: str) -> None:
        plm = load_plm(str(folder), projects=False)
        super().__init__(folder, settings, identity, plm.config.pad_token_id)
        self._news_encoder = PaddedNewsEncoder(plm, settings).eval()
        self.user_encoder = UserEncoder(
            settings[NEWS_DIM],
            settings["query_dim"],
            settings["user_encoder"],
            settings["history_padding"],
            starts_as_mean=settings["head_init"] == "pretrained",
        ).eval()
        heads = {NEWS_HEADS: self._news_encoder.heads, USER_ENCODER: self.user_encoder}
        for name, module in heads.items():
            load_into(module, load_weights(folder / name), folder / name)

    @torch.no_grad()
    def user_vectors(self, vectors: Tensor, histories: Tensor) -> Tensor:
        """User vectors, ``[users, dim]``."""
        return self.user_encoder(vectors[histories], histories != 0)

    @torch.no_grad()
    def _encode_batch(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        ids, mask = torch.from_numpy(input_ids), torch.from_numpy(attention_mask)
        return self._news_encoder(ids, mask).numpy()


class OnnxEngine(PaddedEngine):
    """Ranks with the two graphs on the CPU; thread-safe."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], identity: str) -> None:
        super().__init__(folder, settings, identity, load_config(str(folder)).pad_token_id)
        self._news, self._user = session(folder / NEWS_GRAPH), session(folder / USER_GRAPH)

    def user_vectors(self, vectors: Tensor, histories: Tensor) -> Tensor:
        """User vectors, ``[users, dim]``."""
        given = {"history": vectors[histories].numpy(), "clicked": (histories != 0).numpy()}
        return torch.from_numpy(self._user.run(None, given)[0])

    def _encode_batch(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        return self._news.run(None, {"input_ids": input_ids, "attention_mask": attention_mask})[0]


def session(graph: Path) -> Any:
    """An onnxruntime session on the CPU with torch's threads."""
    onnxruntime = library("onnxruntime", "An export to ONNX")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


TORCH, ONNX = "torch", "onnx"
ENGINES: dict[str, type[TorchEngine | OnnxEngine]] = {TORCH: TorchEngine, ONNX: OnnxEngine}


def load_export(folder: str | Path) -> Engine:
    """The engine of an export, whose files are checked; ``ValueError``: damaged or unknown."""
    folder = Path(folder)
    with untrusted(folder / FILE):
        content = read_json(folder / FILE)
        version = content.pop("export_format")
        if version != EXPORT_FORMAT:
            raise ValueError(
                f"{folder} is an export of format {str(version)[:20]}, and this version of "
                f"recbole_tinynews reads {EXPORT_FORMAT}. Export it again."
            )
        settings, files = content["settings"], content["files"]
        _check_settings(settings)
        if broken := changed(folder, files):
            raise ValueError(
                f"{folder} expects its files as they were written, and {', '.join(broken)} "
                f"{'are' if len(broken) > 1 else 'is'} missing or changed. Export it again."
            )
        # of everything that affects a vector
        identity = content_key([json.dumps([content["to"], settings, files], sort_keys=True)])
        return ENGINES[content["engine"]](folder, settings, identity)
