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
from tiny import status_of
from transformers import AutoConfig

from recbole_tinynews.encoder.plm_files import load_tokenizer
from recbole_tinynews.export.export_command import main
from recbole_tinynews.export.exporting import export
from recbole_tinynews.serving.exported import load_export
from recbole_tinynews.serving.loading import load

pytestmark = pytest.mark.whole

FLOOR = 14  # articles
# which sentence-transformers can express, and of one layer, as writing a graph takes seconds
HEADS = {"head_init": "pretrained", "news_dim": 24, "num_hidden_layers": 1}


@pytest.fixture(scope="module")
def trimmed(finished_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """By the command, with the tokens of a few articles."""
    place = tmp_path_factory.mktemp("trimmed")
    rows = [["id", "title"], *([f"A{n}", text] for n, text in enumerate(texts()[:4]))]
    (place / "news.tsv").write_text("\n".join("\t".join(row) for row in rows))
    asked = [f"--trim_vocabulary={place / 'news.tsv'}", f"--output={place / 'out'}"]
    assert status_of(main, [str(finished_folder(**HEADS)), *asked]) == 0
    return place / "out"


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
    places = finished_folder(**HEADS) / "plm", folder / "plm", tmp_path / "out"
    whole, small, exported = (AutoConfig.from_pretrained(place).vocab_size for place in places)
    assert small == exported < whole
    got = exported_scores(load_export(tmp_path / "out"))
    assert_scores_equal(got, ranked_scores(folder))


def test_texts_that_are_not_there_leave_nothing(
    finished_folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """A folder without most of its tokens would look like a finished one."""
    asked = [f"--trim_vocabulary={tmp_path / 'none.csv'}", f"--output={tmp_path / 'out'}"]
    assert status_of(main, [str(finished_folder(**HEADS)), *asked]) == 1
    assert "none.csv" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
