"""Embedding models are used as their folders say, with vectors of sentence-transformers' own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from test_families import WIDTH, written
from tiny import Tiny
from torch.nn import functional as F

pytest.importorskip("sentence_transformers")
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules

TEXTS = ["Storm over the coast", "Cup", "Bank raises the rates again and again", "Vote"]
KINDS = ("bert", "mpnet", "modernbert", "qwen3", "gemma3_text", "t5")
MODES = {"mean": "mean", "cls": "cls", "lasttoken": "last", "weightedmean": "weighted_mean"}


def saved(tiny: Tiny, folder: Path, kind: str, *parts: Any, **options: Any) -> Path:
    """The folder of an embedding model, as the library writes it."""
    language_model = modules.Transformer(str(written(tiny, folder / "plm", kind)))
    made = SentenceTransformer(modules=[language_model, *parts], device="cpu", **options)
    made.save_pretrained(str(folder / "made"), create_model_card=False)
    return folder / "made"


def both(tiny: Tiny, folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Vectors of ours, untrained, and of the library's, both of unit length."""
    world = tiny.world("ZeroShotPLM", plm=str(folder), centred=False, max_title_length=20)
    world.model.start_heads(world.config, world.train)
    library = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    found = world.model.eval().news_encoder.encode_texts({"title": TEXTS})
    return found, F.normalize(library.encode(TEXTS, convert_to_tensor=True).cpu(), dim=-1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES)
def test_vectors_equal_those_of_the_library(tiny: Tiny, tmp_path: Path, kind, mode) -> None:
    """Another pooling ranks wrongly without a word."""
    parts = [modules.Pooling(WIDTH, mode)]
    if kind in ("bert", "qwen3"):
        parts += [modules.Dense(WIDTH, 24), modules.Normalize()]
    prompts = {"prompts": {"news": "storm: "}, "default_prompt_name": "news"}
    folder = saved(tiny, tmp_path, kind, *parts, **(prompts if mode != "mean" else {}))
    ours, theirs = both(tiny, folder)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
