"""``--to=sentence-transformers``: ``SentenceTransformer(DIR).encode(titles)``, and the heads."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recbole_tinynews.encoder.embedding_model import POOLINGS
from recbole_tinynews.encoder.pooling import AttentionPooling, UnitDense
from recbole_tinynews.export.exporting import refuse_difference
from recbole_tinynews.export.finished import FinishedRecommender
from recbole_tinynews.export.formats import Format
from recbole_tinynews.export.formats.hf import POOL, ranking_by_torch, write_heads
from recbole_tinynews.files.columns import TITLE
from recbole_tinynews.files.installation import library
from recbole_tinynews.serving.exported import NEWS_TOKENS, TORCH

TO = "sentence-transformers"
EXAMPLE = f"""import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

user = load_file(FOLDER + "/user_encoder.safetensors")
{POOL}
vectors = torch.from_numpy(SentenceTransformer(FOLDER).encode(CLICKS + CANDIDATES))
"""
TOLERANCE = 1e-5
POOLING_MODES = {ours: mode for mode, ours in POOLINGS.items()}
PROMPT = "news"
STEEPEST = 30.0  # sum of the query's absolute weights up to which fp32 holds all weights
BELOW_SATURATION = 18.0  # sigmoid(x - 18) is exp(x - 18) up to 2e-8 of it, for x <= 0
SATURATED = 40.0  # its sigmoid is 1 in fp32


def _write(recommender: FinishedRecommender, folder: Path) -> None:
    _check_expressible(recommender.settings)
    modules = library("sentence_transformers.sentence_transformer.modules", f"--to={TO}")
    prefix = recommender.settings["text_prefix"]
    with tempfile.TemporaryDirectory(dir=folder) as beside:
        recommender.write_auto_model(Path(beside), TO)
        language_model = modules.Transformer(beside)
    language_model.max_seq_length = recommender.settings[NEWS_TOKENS]
    written = library("sentence_transformers", f"--to={TO}").SentenceTransformer(
        modules=[language_model, *_heads(modules, recommender)],
        device="cpu",
        similarity_fn_name="dot",
        prompts={PROMPT: prefix} if prefix else None,
        default_prompt_name=PROMPT if prefix else None,
    )
    written.save_pretrained(str(folder), create_model_card=False)
    write_heads(recommender, folder)


def _check(recommender: FinishedRecommender, folder: Path, texts: Sequence[str]) -> None:
    """Compare ``SentenceTransformer.encode`` with the recommender's vectors."""
    loaded = library("sentence_transformers", f"--to={TO}").SentenceTransformer(
        str(folder), device="cpu", local_files_only=True
    )
    encoded = loaded.encode([*texts], show_progress_bar=False)
    vectors = recommender.engine.encode({TITLE: texts}).numpy()
    difference = float(np.abs(encoded - vectors).max())
    refuse_difference(difference, TOLERANCE, f"SentenceTransformer({folder.name}).encode")


def _check_expressible(settings: Mapping[str, Any]) -> None:
    masked, pooling, head_init = (
        settings[n] for n in ("mask_padding_in_news_pooling", "news_pooling", "head_init")
    )
    if not masked or (pooling == "attention" and head_init != "pretrained"):
        raise ValueError(
            f"--to={TO} expects --mask_padding_in_news_pooling=true, and --news_pooling=mean or "
            "--head_init=pretrained, which the library's own modules can express, got "
            f"{masked}, {pooling} and {head_init}. Train with them, or use --to=hf or --to=onnx."
        )


def _heads(modules: Any, recommender: FinishedRecommender) -> list[nn.Module]:
    pooling, dense = recommender.text_encoder.pooling, recommender.text_encoder.dense
    weight, bias, unit = dense.weight.detach().double(), dense.bias.detach().double(), []
    if isinstance(dense, UnitDense):  # the centre that it subtracts is folded into the bias
        bias, unit = bias - weight @ dense.centre.double(), [modules.Normalize()]
    weight, bias = weight.float(), bias.float()
    if pooling is not None:
        steps = _attention(modules, pooling, weight, bias)
        return [*steps, modules.Pooling(len(weight), "mean"), *unit]
    size = dense.in_features
    return [
        modules.Pooling(size, POOLING_MODES[recommender.settings["news_pooling"]]),
        modules.Dense(size, len(weight), True, nn.Identity(), weight, bias),
        *unit,
    ]


def _attention(
    modules: Any, pooling: AttentionPooling, weight: Tensor, bias: Tensor
) -> list[nn.Module]:
    """Additive attention as two dense layers on tokens, before a mean and normalisation.

    Multiplying all ``w_j`` by one number does not change the unit vector of
    ``sum_j w_j (W x_j + b)``, so the softmax needs no denominator: ``w_j = exp(e_j - shift)``. With
    a shift far above all ``e_j`` that is ``sigmoid(e_j - shift)``, by which a gated linear unit
    can multiply. The first layer passes ``x_j`` through, with a gate of 1, beside
    ``tanh(P x_j + p) + 1 = 2 sigmoid(2 (P x_j + p))``.
    """
    size, queries, news_dim = weight.shape[1], pooling.projection.out_features, len(weight)
    query = pooling.query.weight.detach()[0]
    shift = min(float(query.abs().sum()), STEEPEST) + BELOW_SATURATION
    inner = size + queries
    first, second = torch.zeros(2 * inner, size), torch.zeros(2 * news_dim, inner)
    first_bias, second_bias = torch.zeros(2 * inner), torch.zeros(2 * news_dim)
    first[:size], first_bias[inner : inner + size] = torch.eye(size), SATURATED
    first_bias[size:inner] = 2.0
    first[inner + size :] = 2 * pooling.projection.weight.detach()
    first_bias[inner + size :] = 2 * pooling.projection.bias.detach()
    # times exp(shift), so that sums do not come near the smallest numbers of fp32
    second[:news_dim, :size] = weight * math.exp(shift)
    second_bias[:news_dim] = bias * math.exp(shift)
    second[news_dim:, size:] = query
    second_bias[news_dim:] = -shift - query.sum()
    tokens = {"module_input_name": "token_embeddings"}
    return [
        modules.Dense(size, 2 * inner, True, nn.GLU(), first, first_bias, **tokens),
        modules.Dense(inner, 2 * news_dim, True, nn.GLU(), second, second_bias, **tokens),
    ]


FORMAT = Format(
    _write,
    TORCH,
    "sentence-transformers",
    lambda settings: EXAMPLE + ranking_by_torch(settings),
    task="sentence-similarity",
    check=_check,
)
