"""Exports: ``recommender.json``, written last, and engines in torch or onnxruntime."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recbole_tinynews.encoder.one_text import ColumnTokenizer
from recbole_tinynews.encoder.padded import NEWS_DIM, PaddedNewsEncoder, encode_padded
from recbole_tinynews.encoder.plm_files import load_config, load_plm, load_tokenizer
from recbole_tinynews.encoder.users import UserEncoder
from recbole_tinynews.files.array_cache import changed, checksums, content_key
from recbole_tinynews.files.installation import library
from recbole_tinynews.files.lines import read_json, untrusted
from recbole_tinynews.files.tensors import load_into, load_weights
from recbole_tinynews.files.whole import write_text
from recbole_tinynews.pipeline.artifact import EXPORT_FILE
from recbole_tinynews.serving.engine import Engine
from recbole_tinynews.settings.table import unfit_value

CARD = "README.md"  # may be edited, so it has no checksum
EXPORT_FORMAT = 2  # increased when older exports would be misread
NEWS_TOKENS = "news_tokens"  # maximum tokens of a text
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


def write_description(folder: Path, **content: Any) -> None:
    """Write ``recommender.json`` with checksums of the other files.

    ``to`` is the format, ``engine`` the name of the engine that ranks with it, ``settings`` affect
    vectors and scores, ``made_from`` are the exported folder and fingerprints of its origins, and
    ``checked`` are differences from the recommender.
    """
    files = [
        file
        for file in folder.rglob("*")
        if file.is_file() and file.name not in (EXPORT_FILE, CARD)
    ]
    content = {"export_format": EXPORT_FORMAT, **content, "files": checksums(folder, files)}
    write_text(folder / EXPORT_FILE, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse values of the wrong type, and implausible sizes."""
    for name in (*SETTINGS, NEWS_DIM, NEWS_TOKENS):
        value = settings[name]
        if name in SIZES:
            fits = type(value) is int and 1 <= value <= LARGEST
        elif name in NAMES:
            fits = isinstance(value, str)
        else:
            fits = unfit_value(name, value, value) is None
        if not fits:
            raise ValueError(f"{name}={value!r:.100} fits no recommender.")


class PaddedEngine(Engine):
    """Encodes texts in padded batches; needs a fast tokenizer."""

    def __init__(
        self, folder: Path, settings: Mapping[str, Any], identity: str, pad_token_id: int | None
    ) -> None:
        super().__init__(settings, identity)
        longest, prefix = settings[NEWS_TOKENS], settings["text_prefix"]
        tokenizer, self._pad_token_id = load_tokenizer(str(folder)), pad_token_id or 0
        self._tokenise = ColumnTokenizer(settings["news_text"], tokenizer, longest, prefix)
        # pooling over pad tokens needs as many as in training
        self._width = 0 if settings["mask_padding_in_news_pooling"] else longest

    @abstractmethod
    def _encode_batch(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Vectors, ``[texts, dim]``, from ids and mask, ``[texts, tokens]``."""

    def encode(self, columns: Mapping[str, Sequence[str]]) -> Tensor:
        """Vectors of articles, ``[articles, dim]``, float32."""
        tokens = self._tokenise(columns)
        if tokens.rows == 1:
            return torch.zeros(0, self.settings[NEWS_DIM])
        rows, pad = np.arange(1, tokens.rows), self._pad_token_id
        return torch.from_numpy(encode_padded(tokens, rows, pad, self._encode_batch, self._width))


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
    with untrusted(folder / EXPORT_FILE):
        content = read_json(folder / EXPORT_FILE)
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
