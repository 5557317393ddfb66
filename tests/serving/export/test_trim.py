"""Trimmed vocabularies of finished recommenders, and in their exports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from exports import (
    assert_scores_equal,
    exported_scores,
    needs_onnx,
    needs_sentence_transformers,
    ranked_scores,
    texts,
)
from tiny import Tiny
from transformers import AutoConfig

from recbole_tinynews.encoder.plm_files import load_tokenizer
from recbole_tinynews.serving.export.exporting import export
from recbole_tinynews.serving.export.trim import main
from recbole_tinynews.serving.export.trimming import trim
from recbole_tinynews.serving.loading import load, load_export

FLOOR = 14  # articles
# which sentence-transformers can express, and of one layer, as writing a graph takes seconds
HEADS = {"head_init": "pretrained", "news_dim": 24, "num_hidden_layers": 1}


@pytest.fixture(scope="module")
def trimmed(
    finished_folder: Callable[..., Path], tiny: Tiny, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    output = tmp_path_factory.mktemp("trimmed") / "out"
    done = trim(finished_folder(**HEADS), output, FLOOR, tiny.data)
    assert done.tokens < done.tokens_before
    assert done.metrics.keys() == {"before", "after"}
    return output


def test_a_trimmed_recommender_encodes_texts_of_kept_tokens_as_before(
    trimmed: Path, finished_folder: Callable[..., Path]
) -> None:
    """It would rank otherwise than what was evaluated."""
    small = load_tokenizer(str(trimmed / "plm"))
    kept = [text for text in texts() if "[UNK]" not in small.tokenize(text)]
    assert 2 < len(kept) < len(texts())
    before, after = (
        load(f).engine.encode({"title": kept}) for f in (finished_folder(**HEADS), trimmed)
    )
    assert torch.equal(before, after)


@pytest.mark.parametrize(
    ("to", "how"),
    [
        ("hf", "setting"),
        pytest.param("sentence-transformers", "command", marks=needs_sentence_transformers),
        pytest.param("onnx", "command", marks=needs_onnx),
    ],
)
def test_exports_keep_the_trimmed_vocabulary(
    to: str, how: str, trimmed: Path, finished_folder: Callable[..., Path], tmp_path: Path
) -> None:
    """The language model of the training would come back with all of its embeddings."""
    by_setting = finished_folder(**HEADS, vocabulary_min_articles=FLOOR)
    folder = trimmed if how == "command" else by_setting
    export(folder, to, tmp_path / "out")
    places = trimmed / "plm", by_setting / "plm", tmp_path / "out"
    sizes = [AutoConfig.from_pretrained(place).vocab_size for place in places]
    assert len(set(sizes)) == 1
    assert sizes[0] < 55
    got = exported_scores(load_export(tmp_path / "out"))
    assert_scores_equal(got, ranked_scores(folder))


def test_the_command_names_what_is_missing(
    finished_folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main([str(finished_folder(**HEADS)), f"--output={tmp_path / 'out'}"]) == 1
    assert "--data_path" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
