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
from recbole_tinynews.pipeline.factory import content_of_language_model
from recbole_tinynews.pipeline.systems import system

pytest.importorskip("sentence_transformers")
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules

TEXTS = ["Storm over the coast", "Cup", "Bank raises the rates again and again", "Vote"]
KINDS = ("bert", "mpnet", "modernbert", "qwen3", "gemma3_text", "t5")
MODES = ("cls", "lasttoken", "weightedmean")


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


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *((kind, "mean") for kind in KINDS),
        *(("bert", mode) for mode in MODES),
        ("qwen3", "lasttoken"),
    ],
)
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
        ("2_Dense/config.json", {"in_features": 10**9}, "sizes of 1 to 8,192"),
        ("modules.json", [{"type": "x.Transformer", "path": ""}] * 11, "at most 10 modules"),
        ("modules.json", [{"type": "x.Dense", "path": ""}], "in a folder of the model"),
        ("modules.json", [{"type": "x.Dense", "path": "2_Dense"}], "Pooling, then Dense"),
        ("2_Dense/config.json", {"activation_function": "os.system"}, "got system"),
    ],
)
def test_a_part_that_is_not_known_is_named(tiny: Tiny, tmp_path, name, change, message) -> None:
    """It would be left out without a word, or make a stranger's folder fill the memory."""
    folder = saved(tiny, tmp_path, "bert", modules.Pooling(WIDTH), modules.Dense(WIDTH, 24))
    content = json.loads((folder / name).read_text())
    content = {**content, **change} if isinstance(change, dict) else change
    (folder / name).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        tiny.world("ZeroShotPLM", plm=str(folder), num_hidden_layers=None)


def test_its_digest_covers_what_follows_the_language_model(tiny: Tiny, tmp_path: Path) -> None:
    """Another dense layer would find the stages of the first one finished."""
    folder = saved(tiny, tmp_path, "bert", modules.Pooling(WIDTH), modules.Dense(WIDTH, 24))
    digests = {content_of_language_model(str(folder))}
    for file in ("1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors"):
        (folder / file).write_bytes((folder / file).read_bytes() + b" ")
        digests.add(content_of_language_model(str(folder)))
    assert len(digests) == 4


@pytest.mark.parametrize("settings", [{"vocabulary_min_articles": 1}, {"num_hidden_layers": 0}])
def test_a_model_made_from_it_keeps_the_dense_layers(tiny: Tiny, tmp_path: Path, settings) -> None:
    """Its vectors would be of another size than those of the model itself."""
    folder = saved(tiny, tmp_path, "bert", modules.Pooling(WIDTH), modules.Dense(WIDTH, 24))
    given = {"plm": str(folder), "num_hidden_layers": None, "centred": False, **settings}
    run = tiny.run("ZeroShotPLM", **given, checkpoint_dir=str(tmp_path / "saved"))
    made = run.make(system(run.factory.config)).folder
    assert load(made).encode(TEXTS).shape == (len(TEXTS), 24)


def test_a_stage_of_another_model_has_not_the_pooling_of_the_run(tiny: Tiny, tmp_path) -> None:
    """A teacher would be pooled as its student's folder says."""
    folder = saved(tiny, tmp_path, "bert", modules.Pooling(WIDTH, "cls"))
    given = {"plm": str(folder), "finetune_teacher_plm": str(tiny.plm)}
    config = tiny.config("TinyNewsRec", **given)
    assert config["news_pooling"] == config.for_stage("post_train_teacher")["news_pooling"] == "cls"
    assert config.for_stage("finetune_teacher")["news_pooling"] == "attention"
