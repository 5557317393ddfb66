from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from real_mind import NAME, PLM, TEST_IMPRESSIONS, converted, needs_both
from transformers import AutoModel, AutoTokenizer

from recbole_tinynews.data.news_text import tokenise
from recbole_tinynews.encoder.one_text import OneTextEncoder
from recbole_tinynews.encoder.plm_files import load_plm, load_tokenizer, locate_plm
from recbole_tinynews.encoder.text_encoder import TextEncoder
from recbole_tinynews.pipeline.quick_start import run

pytestmark = needs_both
SIZES = (35, TEST_IMPRESSIONS)  # of validation and test


@pytest.fixture(scope="module")
def data_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return converted(tmp_path_factory.mktemp("real"))


def test_real_titles_have_the_vectors_of_the_plain_language_model(data_path: Path) -> None:
    """A tiny random model may hide a wrong position or norm that a trained one shows."""
    with (data_path / NAME / f"{NAME}.item").open(encoding="utf-8") as items:
        next(items)
        titles = [line.split("\t")[3] for _, line in zip(range(60), items, strict=False)]
    source = locate_plm(PLM)
    tokens = tokenise(["", *titles], load_tokenizer(source), 30)
    text_encoder = TextEncoder(load_plm(source), 384, 8, pooling="mean")
    encoder = OneTextEncoder(text_encoder, tokens).eval()
    with torch.no_grad():
        text_encoder.dense.weight.copy_(torch.eye(384))
        text_encoder.dense.bias.zero_()
        vectors = encoder(torch.arange(1, 61))
        texts = AutoTokenizer.from_pretrained(source)(
            titles, padding="max_length", truncation=True, max_length=30, return_tensors="pt"
        )
        states = AutoModel.from_pretrained(source)(**texts).last_hidden_state
    real = texts["attention_mask"].unsqueeze(-1)
    expected = (states * real).sum(1) / real.sum(1)
    torch.testing.assert_close(vectors, expected, rtol=1e-5, atol=1e-5)
    assert len(np.unique(tokens.lengths)) > 8


@pytest.mark.long
def test_ten_steps_on_real_impressions_give_a_finite_named_loss(data_path: Path, caplog) -> None:
    """Real histories reach 300 clicks and real titles hold every kind of quote."""
    caplog.set_level(logging.INFO)
    result = run(
        "PLMNR",
        NAME,
        config_dict={
            "data_path": str(data_path),
            "plm": PLM,
            "use_gpu": False,
            "show_progress": False,
            "use_cache": False,
            "num_hidden_layers": 1,
            "finetune_layers": 1,
            "history_length": 20,
            "train_batch_size": 16,
            "max_steps": 10,
            "plm_dropout": 0.0,
        },
    )
    (loss,) = re.findall(r"target loss\S*: ([0-9.]+)", caplog.text)
    assert 0.5 < float(loss) < 10
    assert (result["valid"]["impressions"], result["test"]["impressions"]) == SIZES
    assert 0.4 < result["test"]["auc"] < 0.8
    assert result["parameters"] > 10_000_000
