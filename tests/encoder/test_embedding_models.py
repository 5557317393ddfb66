"""Embedding models are used as their folders say, with vectors of sentence-transformers' own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_families import WIDTH, written
from tiny import Tiny
from torch.nn import functional as F

from recbole_tinynews import load
from recbole_tinynews.pipeline.systems import system

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
    world = tiny.world("ZeroShotPLM", plm=str(folder), centred=False, num_hidden_layers=None)
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


def test_a_finished_recommender_keeps_pooling_prompt_and_dense_layers(tiny: Tiny, tmp_path) -> None:
    """Loaded without them, it would rank by other vectors than it was tested with."""
    prompts = {"prompts": {"news": "storm: "}, "default_prompt_name": "news"}
    parts = modules.Pooling(WIDTH, "lasttoken"), modules.Dense(WIDTH, 24)
    folder = saved(tiny, tmp_path, "qwen3", *parts, **prompts)
    settings = {"plm": str(folder), "num_hidden_layers": None, "centred": False}
    run = tiny.run("ZeroShotPLM", **settings, checkpoint_dir=str(tmp_path / "saved"))
    folder_of_run = run.make(system(run.factory.config)).folder
    found = load(folder_of_run).encode(TEXTS)
    np.testing.assert_allclose(found, both(tiny, folder)[1], atol=1e-5)


def test_what_is_given_overrides_the_folder(tiny: Tiny, tmp_path: Path) -> None:
    folder = saved(tiny, tmp_path, "bert", modules.Pooling(WIDTH, "cls"))
    for given, expected in ({}, "cls"), ({"news_pooling": "mean"}, "mean"):
        config = tiny.config("ZeroShotPLM", plm=str(folder), **given)
        assert config["news_pooling"] == expected
        assert bool(config.notes) == (not given)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("1_Pooling/config.json", {"pooling_mode": "max"}, r"pooling must be one of .*'max'"),
        ("1_Pooling/config.json", {"include_prompt": False}, "include the prompt"),
        ("2_Dense/config.json", {"in_features": 10**9}, "sizes of 1 to 8,192"),
        ("2_Dense/config.json", {"activation_function": "os.system"}, "got system"),
    ],
)
def test_a_part_that_is_not_known_is_named(tiny: Tiny, tmp_path, name, change, message) -> None:
    """It would be left out without a word, or make a stranger's folder fill the memory."""
    folder = saved(tiny, tmp_path, "bert", modules.Pooling(WIDTH), modules.Dense(WIDTH, 24))
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**content, **change}))
    with pytest.raises(ValueError, match=message):
        tiny.world("ZeroShotPLM", plm=str(folder), num_hidden_layers=None)
